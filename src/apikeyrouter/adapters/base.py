"""What every adapter would otherwise write again. A custom adapter overrides `send`, and what it can do better.

The defaults are honest rather than clever: no streaming, no usage, no limits beyond the common header forms, health
unknown and therefore good. Nothing here touches the network.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable

from apikeyrouter.adapters.dialect import Dialect, dialect
from apikeyrouter.adapters.narrow import items, text
from apikeyrouter.adapters.usage import read_usage
from apikeyrouter.core.classify import classify
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.headers import read_limits
from apikeyrouter.core.model import Capabilities, Reading, Usage
from apikeyrouter.core.spoken import carried
from apikeyrouter.errors import InvalidRequestError
from apikeyrouter.ports import Answer, Body, Call, Chunk, ChunkStream, Headers, SecretSource


class ListStream:
    """A stream of chunks that are already here: for refusals, for providers that do not stream, for tests."""

    def __init__(
        self,
        chunks: Iterable[Chunk] = (),
        *,
        status: int | None = 200,
        headers: Headers | None = None,
        failure: Failure | None = None,
        first_byte_s: float | None = None,
    ) -> None:
        self.status = status
        self.headers: Headers = headers if headers is not None else {}
        self.failure = failure
        self.first_byte_s = first_byte_s
        self._chunks = iter(() if failure is not None else chunks)

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        for chunk in self._chunks:
            return chunk
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Nothing is held, so nothing is given back."""
        self._chunks = iter(())


class BaseAdapter:
    """Sane defaults for the Adapter protocol.

    `speech` is the dialect whose tables classify failures and read quota headers; `clock` gives epoch seconds.
    """

    capabilities = Capabilities()

    def __init__(self, *, speech: Dialect | None = None, clock: Callable[[], float] = time.time) -> None:
        self.speech = speech if speech is not None else dialect("generic")
        self.clock = clock
        self.owner_headers = tuple(text(name) for name in items(self.speech.options.get("identity")))

    def check(self, operation: str, body: Body) -> None:
        """Raise InvalidRequestError for an operation this adapter does not have, or a body it cannot send."""
        if operation not in self.capabilities.operations:
            known = ", ".join(sorted(self.capabilities.operations))
            raise InvalidRequestError(f"operation '{operation}' is not offered here; use one of {known}")

    @abstractmethod
    async def send(self, call: Call) -> Answer:
        """One attempt; what the provider does comes back as a value."""

    async def stream(self, call: Call) -> ChunkStream:
        """Refuses, unless a subclass streams."""
        refusal = Failure(kind=Kind.INVALID, message=f"operation '{call.operation}' does not stream here", sent=False)
        return ListStream(status=None, failure=refusal)

    def normalize(self, operation: str, raw: object) -> object:
        """The answer in canonical shape; here: as it came."""
        return raw

    def usage(self, operation: str, raw: object) -> Usage | None:
        """What the answer says was used, by the dialect's paths."""
        return read_usage(self.speech.usage, raw)

    def classify(self, status: int | None, headers: Headers, body: object) -> Failure:
        """What went wrong, by the dialect's rules."""
        return self.classified(status, headers, body, None)

    def classified(self, status: int | None, headers: Headers, body: object, secret: str | None) -> Failure:
        """As `classify`; the key in use is taken out of the provider's sentence wherever it stands."""
        inner = carried(self.speech.errors.spoken, body)
        return classify(
            self.speech.errors,
            status,
            {**inner, **headers} if inner else headers,
            body,
            now=self.clock(),
            readings=self.limits(headers),
            carried=self.limits(inner) if inner else (),
            secret=secret,
        )

    def limits(self, headers: Headers) -> tuple[Reading, ...]:
        """The quotas an answer's headers state."""
        return read_limits(self.speech.limits, headers, self.clock())

    def identity(self, headers: Headers) -> tuple[str, ...]:
        """The dialect's identity headers, all of them; empty when the first is absent."""
        names = self.owner_headers
        return tuple(headers.get(name, "") for name in names) if names and headers.get(names[0]) else ()

    def estimate_cost(self, operation: str, body: Body) -> int | None:
        """None: tokens decide."""
        return None

    async def health(self, secret: SecretSource) -> bool:
        """True: nothing is known against it."""
        return True

    async def aclose(self) -> None:
        """Nothing to close."""
