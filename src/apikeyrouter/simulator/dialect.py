"""The family of provider dialects: what one has to say, in pure functions of bytes and numbers.

A dialect never waits, never counts and never touches a socket: `turn.py` does that for all of them. Members live in
`dialects/`, one each, and do not know each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from apikeyrouter.simulator.spec import Model, Organisation
from apikeyrouter.simulator.state import Reading, Refusal
from apikeyrouter.simulator.wire import Answer, HeaderList, Json, Request, obj, whole
from apikeyrouter.simulator.world import Stamp

__all__ = ["NO_MAXIMUM", "Call", "Dialect", "Piece", "Problem", "asked_length", "cached_tokens"]

LENGTH_HEADER = "x-sim-output-tokens"
CACHED_HEADER = "x-sim-cached-tokens"
NO_MAXIMUM = 1_000_000_000
"""The maximum of output of a request that names none, where the provider does not set one either."""


@dataclass(slots=True)
class Call:
    """A request that was understood.

    `take` is charged at admission; `check` must have room. What is produced is charged to the counts in `metered`.
    `input_tokens` include the `cached_tokens` that were read from a prompt cache. `asked_output` is the request's
    own maximum (0: none named), `max_output` what counts as its maximum. `output_tokens` is what each of the
    `answers` will have, filled in by the turn from `wanted` or from the world's distribution; `cut` says that the
    maximum ended it.
    """

    operation: str
    model: str
    body: dict[str, Json]
    take: dict[str, int] = field(default_factory=dict)
    check: dict[str, int] = field(default_factory=dict)
    stream: bool = False
    input_tokens: int = 0
    cached_tokens: int = 0
    asked_output: int = 0
    max_output: int = 0
    wanted: int | None = None
    produces: bool = False
    metered: tuple[str, ...] = ()
    answers: int = 1
    output_tokens: int = 0
    cut: bool = False
    prompt: str = ""
    argument: str = ""

    def settle_length(self, drawn: int) -> None:
        """Fix how long the answer is: what the request wanted, else `drawn`, never above the maximum."""
        if not self.produces:
            return
        wanted = drawn if self.wanted is None else self.wanted
        self.cut = wanted > self.max_output
        self.output_tokens = min(wanted, self.max_output)


@dataclass(slots=True, frozen=True)
class Problem:
    """A request that is refused before any limit is asked: the error by its name, and what its text needs."""

    name: str
    text: str = ""
    model: str = "-"
    operation: str = "-"


class Piece(NamedTuple):
    """One part of a streamed body, and how many tokens of output it carries."""

    data: bytes
    tokens: int


class Dialect(Protocol):
    """One provider's way of speaking. Errors are asked for by name; every dialect knows at least these:

    no_key, invalid_key, not_found, bad_request, model_not_found, context_length, server_error, overloaded, unpaid,
    spend_limit, permission, timeout.
    """

    name: str
    models: tuple[Model, ...]

    def claims(self, request: Request) -> bool:
        """Whether this path (and these headers) belong to the dialect."""
        ...

    def material(self, request: Request) -> str:
        """The key material a request carries, or an empty string."""
        ...

    def read(self, request: Request, organisation: Organisation, default_max_output: int) -> Call | Problem: ...

    def answer(self, call: Call, stamp: Stamp, organisation: Organisation) -> Answer: ...

    def pieces(self, call: Call, stamp: Stamp, chunk_tokens: int) -> Iterator[Piece]: ...

    def stream_headers(self, call: Call) -> HeaderList: ...

    def headers(
        self, stamp: Stamp, readings: Sequence[Reading], organisation: Organisation | None, took_ms: int
    ) -> HeaderList:
        """What every answer carries: ids, timing, and, once the key is known, the limits as they stood at admission."""
        ...

    def throttled(self, call: Call, stamp: Stamp, refusal: Refusal, organisation: Organisation) -> Answer: ...

    def error(self, name: str, stamp: Stamp, call: Call | Problem) -> Answer: ...

    def stream_error(self, name: str, stamp: Stamp) -> bytes:
        """The event that reports a failure inside a stream."""
        ...


def asked_length(request: Request, body: dict[str, Json]) -> int | None:
    """How long an answer the request wants: a header, or `metadata.sim_output_tokens`; None: it does not say."""
    found = whole(request.headers.get(LENGTH_HEADER), -1)
    if found < 0:
        found = whole(obj(body.get("metadata")).get("sim_output_tokens"), -1)
    return None if found < 0 else found


def cached_tokens(request: Request, input_tokens: int) -> int:
    """How much of the input counts as read from a prompt cache: what the header `x-sim-cached-tokens` says."""
    return min(input_tokens, whole(request.headers.get(CACHED_HEADER), 0))
