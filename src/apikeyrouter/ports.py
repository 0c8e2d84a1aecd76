"""What the router needs from outside, as small Protocols, and the plain values that cross them.

An adapter owns one provider's dialect: it sends, reads and classifies, and never decides. Failures are values here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from apikeyrouter.core.failure import Failure
from apikeyrouter.core.model import Capabilities, Reading, Usage

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Headers = Mapping[str, str]
Body = Mapping[str, object]


class SecretSource(Protocol):
    """Holds key material; everything but `reveal()` prints stars."""

    def reveal(self) -> str: ...


class Clock(Protocol):
    """Seconds since the epoch that never run backwards, and a way to wait for them."""

    def now(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class Hook(Protocol):
    """Receives every event; what it raises is counted and swallowed, so that it cannot break a request."""

    def __call__(self, event: object) -> None: ...


@dataclass(slots=True, kw_only=True)
class Call:
    """One attempt, ready to send. `body` is in the canonical (chat completion) shape; `model` the provider's name.

    `timeout` is seconds for a whole answer, or until a stream's content begins, which may then last `stream_s`.
    `idempotency_key` is the same in all attempts of one request, and in no other's; empty where nobody needs one.
    """

    operation: str
    model: str
    body: Body
    secret: SecretSource
    timeout: float
    request_id: str
    attempt: int = 1
    headers: Headers = field(default_factory=dict)
    idempotency_key: str = ""
    stream_s: float = 600.0


@dataclass(slots=True, kw_only=True)
class Answer:
    """What came back. `failure` is None exactly when the provider succeeded.

    `body` is canonical (chat completion shape for language models, parsed JSON otherwise), `raw` the provider's own.
    `headers` have lower-case names. `first_byte_s` is seconds from sending to the first byte of the response. What the
    provider says is not part of the repr: it may repeat the key.
    """

    status: int | None
    headers: Headers = field(default_factory=dict, repr=False)
    body: object = field(default=None, repr=False)
    raw: object = field(default=None, repr=False)
    content: object = field(default=None, repr=False)
    usage: Usage | None = None
    failure: Failure | None = None
    first_byte_s: float | None = None


@dataclass(slots=True, kw_only=True)
class Chunk:
    """One event of a stream. `data` is canonical; `text` the text it adds; `content` tells whether a caller sees it.

    `usage` comes with the chunk that carries it. A chunk with `failure` is the last one. `raw` are the bytes of what
    is passed on as it came (an event with its blank line, or a piece of a body); else it is empty.
    """

    data: Mapping[str, object] = field(default_factory=dict)
    text: str = ""
    content: bool = False
    usage: Usage | None = None
    failure: Failure | None = None
    raw: bytes = b""


@runtime_checkable
class Probing(Protocol):
    """An adapter whose health check tells why it failed. `probe_operation` is what it is charged as, "" for nothing."""

    probe_operation: str

    async def probe(self, secret: SecretSource, timeout: float) -> Failure | None: ...


class ChunkStream(Protocol):
    """An opened stream. When `failure` is set it was refused and yields nothing; `aclose()` is idempotent."""

    status: int | None
    headers: Headers
    failure: Failure | None
    first_byte_s: float | None

    def __aiter__(self) -> AsyncIterator[Chunk]: ...

    async def aclose(self) -> None: ...


@runtime_checkable
class Adapter(Protocol):
    """One provider dialect. `send` and `stream` never raise for what a provider does; they return it classified.

    They let `asyncio.CancelledError` through. `check` raises InvalidRequestError for a body that cannot be sent.
    """

    capabilities: Capabilities

    def check(self, operation: str, body: Body) -> None: ...

    async def send(self, call: Call) -> Answer: ...

    async def stream(self, call: Call) -> ChunkStream: ...

    def normalize(self, operation: str, raw: object) -> object: ...

    def usage(self, operation: str, raw: object) -> Usage | None: ...

    def classify(self, status: int | None, headers: Headers, body: object) -> Failure: ...

    def limits(self, headers: Headers) -> tuple[Reading, ...]: ...

    def identity(self, headers: Headers) -> tuple[str, ...]:
        """Who the answer says owns the quota (organisation, project, workspace), empty where it does not say."""
        ...

    def estimate_cost(self, operation: str, body: Body) -> int | None:
        """Nano-dollars known before sending (a price per request), or None where tokens decide."""
        ...

    async def health(self, secret: SecretSource) -> bool: ...

    async def aclose(self) -> None: ...
