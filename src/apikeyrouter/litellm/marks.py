"""A lease on its way through LiteLLM: a text in the request's metadata that settles itself when nobody else has.

LiteLLM calls nobody back for a cancelled task, a stream broken off, a call rejected between pick and sending. But it
carries the request's metadata through all of it and drops it at the end, so the mark in there is dropped, too. It is a
str, so that loggers may write it as JSON; copies are the mark itself, so that it dies once. A client that puts a text
of its own in its place has put a str there, not a Mark.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Self

from apikeyrouter.core.ledger import Lease
from apikeyrouter.facade import ApiKeyRouter

KEY: Final = "apikeyrouter_lease"
_PLACES: Final = ("litellm_metadata", "metadata")


class Attempt:
    """One pick: its lease, the engine it is of, and whether it was sent.

    LiteLLM calls every strategy of a process back for every call, so each has to know its own.
    """

    __slots__ = ("engine", "lease", "sent", "trace")

    def __init__(self, lease: Lease, engine: ApiKeyRouter, trace: str = "") -> None:
        self.lease = lease
        self.engine = engine
        self.trace = trace
        self.sent = False

    @property
    def open(self) -> bool:
        return self.lease.open

    def dropped(self) -> None:
        """Nobody holds the call any more. Runs in finalizers: it takes no lock and never raises."""
        if self.lease.open:
            self.engine.abandon(self.lease.id, sent=self.sent)


class Mark(str):
    """The lease's id, alive as long as the call is."""

    __slots__ = ("__weakref__", "attempt")
    attempt: Attempt

    @classmethod
    def of(cls, attempt: Attempt) -> Self:
        mark = cls(attempt.lease.id)
        mark.attempt = attempt
        return mark

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return (str, (str(self),))

    def __del__(self) -> None:
        attempt = getattr(self, "attempt", None)
        if attempt is not None:
            attempt.dropped()


def place_of(kwargs: Mapping[str, object]) -> str:
    """Which of LiteLLM's two names this call's metadata goes by."""
    return "litellm_metadata" if "litellm_metadata" in kwargs else "metadata"


def attempt_of(kwargs: Mapping[str, object] | None) -> Attempt | None:
    """The attempt behind a call's kwargs, or behind the `litellm_params` of its log record."""
    for name in _PLACES:
        found = None if kwargs is None else kwargs.get(name)
        mark = found.get(KEY) if isinstance(found, dict) else None
        if isinstance(mark, Mark):
            return mark.attempt
    return None
