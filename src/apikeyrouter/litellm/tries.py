"""What became of a call before LiteLLM asked for it once more: which keys failed it, and when it began.

LiteLLM picks anew for every retry and every fallback, and its timeout starts anew with each HTTP call; whoever waits
for the answer counts from the first. A retry goes to another key if it can, and waits only for what is left of the
time. Calls are told apart by LiteLLM's trace; as several may share one (a session), asking for the first time begins
anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Set
from typing import Final

MOST_TRACES: Final = 4096


class _Tried:
    __slots__ = ("began", "keys")

    def __init__(self, began: float) -> None:
        self.began = began
        self.keys: set[str] = set()


class Tries:
    """The latest MOST_TRACES calls that did not succeed at once, by their trace. Times are the engine's, in seconds."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, _Tried] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._of)

    def keys(self, trace: str) -> Set[str]:
        """The keys that have failed the call."""
        tried = self._of.get(trace)
        return tried.keys if tried is not None else frozenset()

    def began(self, trace: str, now: float, *, again: bool) -> float:
        """When the call began: now, unless it is asked for `again`."""
        tried = self._of.get(trace)
        if tried is None:
            return now
        if not again:
            tried.began = now
        return tried.began

    def note(self, trace: str, began: float, key: str | None = None) -> None:
        """An attempt has come to nothing: refused, or failed by a key."""
        if not trace:
            return
        tried = self._of.get(trace)
        if tried is None:
            tried = self._of[trace] = _Tried(began)
            if len(self._of) > MOST_TRACES:
                self._of.popitem(last=False)
        if key is not None:
            tried.keys.add(key)

    def forget(self, trace: str) -> None:
        """The call has succeeded."""
        self._of.pop(trace, None)
