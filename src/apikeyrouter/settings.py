"""What can be configured about routing itself, and the clock it runs by."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

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
    """What can be configured about routing itself; seconds and tokens."""

    timeout_s: float = 60.0
    default_max_output: int | None = None
    explain_keep: int = 10_000
    retry: RetrySettings = field(default_factory=RetrySettings)
