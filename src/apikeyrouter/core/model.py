"""The words everything else is said in: what a request needs, what it used, what a quota header said.

Nothing here decides. A `Need` is a plain tuple indexed by the dimension constants, because the ledger compares it with
windows in the hottest loop of the project; every other type is slotted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from apikeyrouter.core.frozen import Frozen

REQUESTS: Final = 0
TOKENS: Final = 1
INPUT: Final = 2
OUTPUT: Final = 3
CONCURRENCY: Final = 4
COST: Final = 5
"""Dimensions of a need. TOKENS is input plus output; COST is nano-dollars (monthly spend windows)."""

DIMENSIONS: Final = ("requests", "tokens", "input_tokens", "output_tokens", "concurrency", "cost")

Need = tuple[int, int, int, int, int, int]
"""What one request takes of each dimension, in the order of `DIMENSIONS`."""

NO_NEED: Final[Need] = (0, 0, 0, 0, 0, 0)

NANO: Final = 1_000_000_000
"""Nano-dollars in a dollar. Money is an integer of these inside, Decimal dollars at the faces, float never."""

Tags = Mapping[str, str]
NO_TAGS: Final[Tags] = Frozen({})
NO_NAMES: Final[frozenset[str]] = frozenset()

Among = frozenset[tuple[str, str]]
"""Candidates as a caller names them: (key id, the provider's model name)."""


def _no_tags() -> Tags:
    return NO_TAGS


def nano(dollars: Decimal | str | int) -> int:
    """Nano-dollars of an amount in dollars, rounded up, so that a hold is never too small."""
    exact = Decimal(dollars) * NANO
    whole = int(exact)
    return whole + 1 if exact > whole else whole


def dollars(nanos: int) -> Decimal:
    """Exact dollars of nano-dollars."""
    return Decimal(nanos).scaleb(-9).normalize() + 0  # the sum writes 100 where normalize() alone writes 1E+2


@dataclass(slots=True, kw_only=True)
class Request:
    """What the caller wants, without its text.

    `input_tokens` None means: estimate from the body or hold nothing for them. `max_output_tokens` None means: the
    model's expected output is held (its configured default under a hard budget). `max_cost` is in dollars and covers
    all attempts together. `needs` are capabilities such as "tools" or "streaming". `among` names the candidates, each
    a key's id with the provider's model name, for a caller that has filtered by itself; None: whoever serves the model.
    `sending_s` is how long sending may take where that is not the time allowed for waiting; the lease lives as long.
    `due` is when its answer is wanted, in epoch seconds, where that is not the end of the time allowed for waiting.
    """

    model: str = ""
    provider: str | None = None
    operation: str = "chat"
    input_tokens: int | None = None
    max_output_tokens: int | None = None
    tenant: str | None = None
    user: str | None = None
    tags: Tags = field(default_factory=lambda: NO_TAGS)
    session: str | None = None
    priority: int = 0
    max_cost: Decimal | None = None
    objective: object = None
    request_id: str | None = None
    correlation_id: str | None = None
    needs: frozenset[str] = NO_NAMES
    among: Among | None = None
    sending_s: float | None = None
    due: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a provider says a request used.

    `input_tokens` INCLUDES cache_read_tokens and cache_write_tokens, `output_tokens` INCLUDES reasoning_tokens.
    Of `cache_write_tokens`, `cache_write_1h_tokens` are kept for an hour.
    `cost_reported` (dollars) wins over the computed cost. `service_tier` is the tier that served it, where a provider
    has several and names it.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    images: int = 0
    requests: int = 1
    cost_reported: Decimal | None = None
    service_tier: str = ""

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class Reading:
    """One quota as a provider's response states it: `of` is a dimension index.

    `remaining` is what is left after the request that carried it; `reset_s` seconds until the quota is full again (a
    bucket) or turns (a fixed window); `period_s` the window's length where the header's name tells it, else None.
    `limit` 0 means: not on this plan.
    """

    of: int
    limit: int | None = None
    remaining: int | None = None
    reset_s: float | None = None
    period_s: float | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider's dialect can do, as data; a request that needs more is routed elsewhere or refused."""

    features: frozenset[str] = NO_NAMES
    operations: frozenset[str] = frozenset({"chat"})
    max_output_tokens: int | None = None
    custom: Mapping[str, object] = field(default_factory=lambda: Frozen({}))
