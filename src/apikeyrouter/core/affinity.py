"""Where a session, or a prompt that begins alike, was served last: its pool has that beginning in its cache.

A provider caches prompts by account, so a long prompt costs a fraction where it was seen before, and nothing less
elsewhere. Only a hash of the beginning is kept, never text, and of a bounded number; what was not used longest goes.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from apikeyrouter.core.measure import Measure
from apikeyrouter.core.model import Request

MOST: Final = 10_000
"""Sessions and beginnings that are remembered."""

Mark = tuple[str, str | int]


def mark_of(request: Request, measure: Measure | None) -> Mark | None:
    """What sticks: the session, else the beginning of a prompt that is long enough to be cached."""
    if request.session:
        return request.model, request.session
    if measure is not None and measure.prefix:
        return request.model, measure.prefix
    return None


class Homes:
    """Pool by mark. Not locked: its owner's one lock covers it."""

    __slots__ = ("_homes", "most")

    def __init__(self, most: int = MOST) -> None:
        self._homes: OrderedDict[Mark, str] = OrderedDict()
        self.most = most

    def find(self, mark: Mark | None) -> str | None:
        return None if mark is None else self._homes.get(mark)

    def remember(self, mark: Mark, pool: str) -> None:
        self._homes[mark] = pool
        self._homes.move_to_end(mark)
        if len(self._homes) > self.most:
            self._homes.popitem(last=False)

    def __len__(self) -> int:
        return len(self._homes)
