"""What can be configured about routing itself, and the clock it runs by."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from apikeyrouter.core.price import Price
from apikeyrouter.core.retry import RetrySettings


class SystemClock:
    """Epoch seconds anchored once and carried by the monotonic clock, so that they never run backwards."""

    __slots__ = ("_offset",)

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        return time.monotonic() + self._offset

    async def sleep(self, seconds: float) -> None:
        import asyncio  # not at import: `import apikeyrouter` loads no event loop

        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What can be configured about routing itself; seconds and tokens.

    `timeout_s` is for a whole answer, or until a stream's content begins; from then on it may last `stream_s`.

    A model whose price nobody knows is refused where a hard limit on cost applies (`unknown_price` "refuse"), or let
    through uncounted ("allow"), or held and charged at `assumed_price` ("assume"). `price_list` is a file written by
    `prices.refresh`, read beside the shipped list.
    """

    timeout_s: float = 60.0
    stream_s: float = 600.0
    default_max_output: int | None = None
    explain_keep: int = 10_000
    price_list: str = ""
    unknown_price: str = "refuse"
    assumed_price: Price | None = None
    retry: RetrySettings = field(default_factory=RetrySettings)
