"""One request id, one request: a caller that asks again gets the first answer instead of paying for a second.

While the first is under way the others wait for it; afterwards its answer is kept for an hour, as far as memory allows,
oldest forgotten first. Only answers are kept: a failure is told to whoever waited and may then be tried again, and when
the first caller goes away, one of those who waited takes its place. What the work is, is not known here.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from apikeyrouter.core.model import Request
from apikeyrouter.errors import InvalidRequestError, ProviderTimeoutError
from apikeyrouter.locks import new_lock

T = TypeVar("T")

KEEP_S: Final = 3600.0
MOST: Final = 10_000
MOST_WEIGHT: Final = 64 * 1024 * 1024
"""Answers kept at once, and what they may weigh together, in about bytes."""


@dataclass(slots=True)
class Entry(Generic[T]):
    """A request id in use. `done` is resolved with None when its owner went away and another has to begin anew."""

    mark: bytes
    done: Future[T | None] = field(default_factory=Future)
    until: float = 0.0
    weight: int = 0


class Once(Generic[T]):
    """Runs work once for each name. `now` gives seconds; `weigh` the bytes an answer takes, about. Thread-safe."""

    def __init__(
        self,
        now: Callable[[], float],
        weigh: Callable[[T], int],
        *,
        keep_s: float = KEEP_S,
        most: int = MOST,
        most_weight: int = MOST_WEIGHT,
    ) -> None:
        self._now = now
        self._weigh = weigh
        self._keep_s = keep_s
        self._most = most
        self._most_weight = most_weight
        self._lock = new_lock()
        self._begun: dict[Hashable, Entry[T]] = {}
        self._kept: OrderedDict[Hashable, Entry[T]] = OrderedDict()
        self.weight = 0

    async def run(self, name: Hashable, mark: bytes, work: Callable[[], Awaitable[T]], *, within: float) -> T:
        """The answer of the one `work` done under `name`, waiting at most `within` seconds for somebody else's.

        `mark` tells requests apart: the same name with another mark raises InvalidRequestError.
        """
        while True:
            entry, mine = self._enter(name, mark)
            if mine:
                return await self._do(name, entry, work)
            answer = await _answer_of(entry, within)
            if answer is not None:
                return answer

    def _enter(self, name: Hashable, mark: bytes) -> tuple[Entry[T], bool]:
        with self._lock:
            self._forget()
            found = self._begun.get(name) or self._kept.get(name)
            if found is None:
                made = self._begun[name] = Entry(mark)
                return made, True
        if found.mark != mark:
            raise InvalidRequestError(
                "This request_id was used for another request within the last hour; give each request its own, "
                "and tie several together with correlation_id."
            )
        return found, False

    async def _do(self, name: Hashable, entry: Entry[T], work: Callable[[], Awaitable[T]]) -> T:
        try:
            answer = await work()
        except Exception as error:
            self._leave(name)
            entry.done.set_exception(error)
            raise
        except BaseException:  # cancelled: whoever waits begins anew
            self._leave(name)
            entry.done.set_result(None)
            raise
        self._keep(name, entry, answer)
        entry.done.set_result(answer)
        return answer

    def _leave(self, name: Hashable) -> None:
        with self._lock:
            del self._begun[name]

    def _keep(self, name: Hashable, entry: Entry[T], answer: T) -> None:
        entry.weight, entry.until = self._weigh(answer), self._now() + self._keep_s
        with self._lock:
            del self._begun[name]
            self._kept[name] = entry
            self.weight += entry.weight
            self._forget()

    def _forget(self) -> None:
        """Drop what is too old, and the oldest of what is too much."""
        now = self._now()
        while self._kept:
            oldest = next(iter(self._kept.values()))
            if oldest.until > now and len(self._kept) <= self._most and self.weight <= self._most_weight:
                return
            self.weight -= self._kept.popitem(last=False)[1].weight

    def __len__(self) -> int:
        return len(self._kept) + len(self._begun)


async def _answer_of(entry: Entry[T], within: float) -> T | None:
    """What somebody else's work came to. Leaving does not disturb it."""
    try:
        return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(entry.done)), within)
    except TimeoutError:
        if entry.done.done():
            raise
        raise ProviderTimeoutError(
            f"Another request with this request_id is still under way after {within:g} s; ask again for its answer."
        ) from None


def mark_for(request: Request) -> str:
    """What tells a provider that attempts belong to one request: the caller's request id, made one's own by tenant and
    user where there are any, else 32 random digits."""
    if request.request_id is None:
        return secrets.token_hex(16)
    if request.tenant is None and request.user is None and request.request_id.isascii():
        return request.request_id
    return mark_of(request.tenant, request.user, request.request_id).hex()


def mark_of(*parts: object) -> bytes:
    """Sixteen bytes that differ where requests differ. Raises InvalidRequestError for what JSON cannot carry."""
    try:
        text = json.dumps(parts, sort_keys=True, default=str)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(f"The body cannot be written as JSON ({type(error).__name__}).") from None
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def weight_of(value: object) -> int:
    """About how many bytes a JSON value takes in memory; a list by its first item, which the others resemble."""
    if isinstance(value, str | bytes):
        return 50 + len(value)
    if isinstance(value, Mapping):
        return 64 + sum(weight_of(item) for item in value.values()) + 100 * len(value)
    if isinstance(value, list | tuple):
        return 56 + len(value) * (8 + weight_of(value[0])) if value else 56
    return 32
