"""An adapter over HTTP and JSON, minus the dialect: prepare a request, send it, read the answer or its events.

`HTTPAdapter` is what every shipped adapter and most custom ones build on: write `prepare`, and `normalize` or `events`
where the shape is not the canonical one. A 2xx that carries an error object is an error (OpenRouter, 2026-08).
"""

from __future__ import annotations

import json
import time
from abc import abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Final, Protocol

from apikeyrouter.adapters.base import BaseAdapter, ListStream
from apikeyrouter.adapters.dialect import Dialect
from apikeyrouter.adapters.http import Incoming, Opened, Outgoing, RawHeaders, Wire, WireError
from apikeyrouter.adapters.narrow import text
from apikeyrouter.adapters.sse import Decoder, Event, EventTooLongError
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.model import Usage
from apikeyrouter.errors import InvalidRequestError
from apikeyrouter.ports import Answer, Call, Chunk, ChunkStream, Headers, SecretSource

USER_AGENT: Final = (b"user-agent", b"apikeyrouter")
HEALTH_S: Final = 10.0
_OURS: Final = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding", "authorization"}
)
_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=lambda value: _plain(value)
)

_DECODE: Final[Callable[[str], tuple[object, int]]] = json.JSONDecoder().raw_decode
"""The parser without the searches for blanks around a text: events of a stream have none."""


class EventReader(Protocol):
    """Turns the events of one stream into chunks, and knows whether the stream ended as it should."""

    done: bool

    def read(self, event: Event) -> Iterable[Chunk]: ...

    def ending(self) -> Failure | None: ...


class HTTPAdapter(BaseAdapter):
    """JSON over HTTP. Subclasses write `prepare`; see the module's docstring for what else they may override."""

    def __init__(self, wire: Wire, *, speech: Dialect | None = None, clock: Callable[[], float] = time.time) -> None:
        super().__init__(speech=speech, clock=clock)
        self.wire = wire

    @abstractmethod
    def prepare(self, call: Call, *, streaming: bool) -> Outgoing:
        """The request of a call. Raises InvalidRequestError for a body that this dialect cannot express."""

    def events(self, call: Call) -> EventReader | None:
        """A reader for the call's stream, or None where the operation does not stream."""
        return None

    def complete(self, operation: str, raw: object) -> Failure | None:
        """A failure that a 200 hides (no choices, a blocked answer), or None."""
        return None

    async def credentials(self, call: Call) -> Call:
        """The call with what its secret stands for (a token bought with it); here: the call itself."""
        return call

    async def send(self, call: Call) -> Answer:
        """One attempt, whole."""
        try:
            call = await self.credentials(call)
            outgoing = self.prepare(call, streaming=False)
        except InvalidRequestError as error:
            return Answer(status=None, failure=_refused(error))
        except WireError as broken:
            return Answer(status=None, failure=broken.failure)
        incoming = await self.wire.send(outgoing, call.timeout)
        return self._answer(call, incoming)

    async def stream(self, call: Call) -> ChunkStream:
        """One attempt, as it comes."""
        try:
            call = await self.credentials(call)
            reader = self.events(call)
            if reader is None:
                return await super().stream(call)
            opened = await self.wire.open(self.prepare(call, streaming=True), call.timeout, call.stream_s)
        except InvalidRequestError as error:
            return ListStream(status=None, failure=_refused(error))
        except WireError as broken:
            return ListStream(status=None, failure=broken.failure)
        return self.follow(call, opened, reader) or await self._refused_stream(call, opened)

    def follow(self, call: Call, opened: Opened, reader: EventReader) -> ChunkStream | None:
        """The stream that an answer opens, or None where it is something else."""
        if opened.status == 200 and "json" not in opened.headers.get("content-type", ""):
            return EventStream(opened, reader)
        return None

    async def _refused_stream(self, call: Call, opened: Opened) -> ChunkStream:
        """Headers that open no stream: read the rest, which says why."""
        try:
            content = await opened.read_all()
        except WireError as broken:
            failure = broken.failure
        else:
            failure = self._stream_refusal(call, opened, content)
        finally:
            await opened.aclose()
        return ListStream(
            status=opened.status, headers=opened.headers, failure=failure, first_byte_s=opened.first_byte_s
        )

    def _stream_refusal(self, call: Call, opened: Opened, content: bytes) -> Failure:
        raw = parsed(content)
        if not self.is_error(opened.status, opened.headers, raw):
            return self.complete(call.operation, raw) or Failure(
                kind=Kind.MALFORMED, status=200, message="a stream was asked for, one whole answer came"
            )
        return self.classified(opened.status, opened.headers, raw, call.secret.reveal())

    def _answer(self, call: Call, incoming: Incoming) -> Answer:
        answer = Answer(status=incoming.status, headers=incoming.headers, first_byte_s=incoming.first_byte_s)
        if incoming.failure is not None or incoming.status is None:
            answer.failure = incoming.failure
            return answer
        return self.read_answer(call, answer, incoming)

    def read_answer(self, call: Call, answer: Answer, incoming: Incoming) -> Answer:
        """Fill an answer from what came back; a subclass may read other things than JSON."""
        status = incoming.status or 0
        raw = parsed(incoming.content)
        if self.is_error(status, incoming.headers, raw):
            answer.failure = self.classified(status, incoming.headers, raw, call.secret.reveal())
            answer.usage = self.usage(call.operation, raw) if 200 <= status < 300 else None
            return answer
        return self._read(call.operation, answer, raw)

    def is_error(self, status: int, headers: Headers, raw: object) -> bool:
        """Whether an answer is a failure by its status, or by an error object inside a success."""
        return not 200 <= status < 300 or carries_error(raw)

    def _read(self, operation: str, answer: Answer, raw: object) -> Answer:
        if isinstance(raw, NotJSON):
            message = "the provider's answer is not JSON" if raw else "the provider's answer is empty"
            answer.failure = Failure(kind=Kind.MALFORMED, status=answer.status, message=message, billed=True)
            return answer
        answer.usage = self.usage(operation, raw) or (Usage() if operation == "models" else None)
        answer.failure = self.complete(operation, raw)
        if answer.failure is None:
            answer.raw = raw
            answer.body = self.normalize(operation, raw)
            answer.content = self.content(operation, answer.body)
        return answer

    def content(self, operation: str, body: object) -> object:
        """What a caller wants of an answer in canonical shape; here: all of it."""
        return body

    async def aclose(self) -> None:
        """Close the connections."""
        await self.wire.aclose()

    probe_operation = ""
    """What a probe is charged as; a list of models is charged to no quota."""

    def probe_request(self, call: Call) -> Outgoing | None:
        """A cheap request that tells whether the provider answers this key; None where there is none."""
        return None

    async def probe(self, secret: SecretSource, timeout: float) -> Failure | None:
        """Why the provider does not answer this key within `timeout` seconds, or None where it does."""
        call = Call(operation="models", model="", body={}, secret=secret, timeout=timeout, request_id="probe")
        try:
            call = await self.credentials(call)
            outgoing = self.probe_request(call)
        except InvalidRequestError as error:
            return _refused(error)
        except WireError as broken:
            return broken.failure
        if outgoing is None:
            return None
        incoming = await self.wire.send(outgoing, timeout)
        if incoming.failure is not None or incoming.status is None:
            return incoming.failure
        raw = parsed(incoming.content)
        if not self.is_error(incoming.status, incoming.headers, raw):
            return None
        return self.classified(incoming.status, incoming.headers, raw, call.secret.reveal())

    async def health(self, secret: SecretSource) -> bool:
        """Whether the provider answers this key."""
        return await self.probe(secret, HEALTH_S) is None


class EventStream:
    """The chunks of an opened stream; after a failure, or the provider's own end, it is over."""

    __slots__ = (
        "_begun",
        "_decoder",
        "_opened",
        "_over",
        "_reader",
        "_ready",
        "failure",
        "first_byte_s",
        "headers",
        "status",
    )

    def __init__(self, opened: Opened, reader: EventReader) -> None:
        self.status: int | None = opened.status
        self.headers: Headers = opened.headers
        self.failure: Failure | None = None
        self.first_byte_s: float | None = opened.first_byte_s
        self._opened = opened
        self._reader = reader
        self._decoder = Decoder()
        self._ready: deque[Chunk] = deque()
        self._begun = False
        self._over = False

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        while not self._ready:
            if self._over:
                raise StopAsyncIteration
            await self._more()
        chunk = self._ready.popleft()
        if chunk.failure is not None:
            self._ready.clear()
            await self.aclose()
        return chunk

    async def _more(self) -> None:
        try:
            data = await self._opened.read()
            events = self._decoder.feed(data) if data else self._decoder.finish()
        except WireError as broken:
            self._fail(broken.failure)
            return
        except EventTooLongError:
            message = "one event of the stream is longer than 16 MiB"
            self._fail(Failure(kind=Kind.MALFORMED, message=message, billed=True))
            return
        for event in events:
            self._ready.extend(self._reader.read(event))
            if self._reader.done:
                self._end()
                break
        if not self._begun and any(chunk.content or chunk.text for chunk in self._ready):
            self._begun = True
            self._opened.begun()
        if self._over:
            await self._opened.drain()
            await self._opened.aclose()
        elif not data:
            self._end()

    def _end(self) -> None:
        failure = self._reader.ending()
        if failure is not None and not (self._ready and self._ready[-1].failure is not None):
            self._ready.append(Chunk(failure=failure))
        self._over = True

    def _fail(self, failure: Failure) -> None:
        self._ready.append(Chunk(failure=failure))
        self._over = True

    async def aclose(self) -> None:
        """Give the connection back, wherever the stream stands; idempotent."""
        self._over = True
        await self._opened.aclose()


class NotJSON(str):
    """The text of an answer that is not JSON."""

    __slots__ = ()


def parsed(content: bytes | str) -> object:
    """JSON, or the beginning of the text as NotJSON; never raises."""
    try:
        if isinstance(content, str) and content[:1] == "{":
            value, end = _DECODE(content)
            if end == len(content):
                return value
        value = json.loads(content)
    except (ValueError, RecursionError):
        plain = content if isinstance(content, str) else content[:65_536].decode("utf-8", "replace")
        return NotJSON(plain[:65_536].strip())
    return value


def encoded(body: object) -> bytes:
    """JSON bytes of a body. Raises InvalidRequestError for what JSON cannot carry."""
    try:
        return _ENCODER.encode(body).encode("utf-8", "backslashreplace")
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(f"the body cannot be written as JSON ({type(error).__name__})") from None


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    raise TypeError(type(value).__name__)


def carries_error(raw: object) -> bool:
    """Whether a 2xx body is an error, or an answer that an error cut short."""
    if not isinstance(raw, dict):
        return False
    error, choices = raw.get("error"), raw.get("choices")
    if isinstance(error, str):
        return bool(error) and not choices and "data" not in raw
    if isinstance(error, dict) and error:
        return True
    first = choices[0] if isinstance(choices, list) and choices else None
    return isinstance(first, dict) and (first.get("finish_reason") == "error" or isinstance(first.get("error"), dict))


def raw_headers(call_headers: Headers, own: RawHeaders) -> RawHeaders:
    """Our headers plus the caller's, which may not replace ours. Raises InvalidRequestError for unsendable ones."""
    if not call_headers:
        return own
    names = {name for name, _ in own}
    added = [header(name, value) for name, value in call_headers.items() if name.lower() not in _OURS]
    return [*own, *(pair for pair in added if pair[0] not in names)]


def header(name: str, value: str) -> tuple[bytes, bytes]:
    """One header as bytes. Raises InvalidRequestError, which never quotes the value."""
    try:
        raw_name, raw_value = name.lower().encode("ascii"), value.encode("latin-1")
    except UnicodeEncodeError:
        raise InvalidRequestError(f"header {text(name)[:40]!r} holds characters that HTTP cannot carry") from None
    if not value.isprintable() or not name.isprintable() or ":" in name or " " in name or not name:
        raise InvalidRequestError(f"header {text(name)[:40]!r} holds characters that HTTP cannot carry")
    return raw_name, raw_value


def secret_header(name: str, prefix: str, secret: SecretSource) -> tuple[bytes, bytes]:
    """A header with the key. Raises UnsendableKeyError for a key no header can carry."""
    return name.encode("ascii"), f"{prefix}{sendable(secret)}".encode("ascii")


def sendable(secret: SecretSource) -> str:
    """The key, if it is one line of plain characters. Raises UnsendableKeyError."""
    value = secret.reveal()
    if not value or not value.isascii() or not value.isprintable() or value != value.strip():
        raise UnsendableKeyError("the key holds blanks or characters that no header can carry; register it again")
    return value


class UnsendableKeyError(InvalidRequestError):
    """The key, not the request, cannot be sent."""


def _refused(error: InvalidRequestError) -> Failure:
    kind = Kind.UNAUTHENTICATED if isinstance(error, UnsendableKeyError) else Kind.INVALID
    return Failure(kind=kind, message=error.message, sent=False)
