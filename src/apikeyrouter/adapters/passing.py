"""Streams of any HTTP API, passed on as they come: events with what is in them, or plain pieces of a body.

What the caller reads is the provider's own. Here it is only watched for errors, for the part that `content` names, and
for what the answer says it cost, which the last event to say so decides.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping

from apikeyrouter.adapters.http import Opened, WireError
from apikeyrouter.adapters.jsonhttp import NotJSON, parsed
from apikeyrouter.adapters.sse import Event
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.model import Usage
from apikeyrouter.ports import Chunk, Headers


class PassingReader:
    """Events up to `[DONE]` or the end of the body. `failed` classifies an event that is an error, None for any other;
    `read` gives its text and the usage known so far. `last` is the data or the name of the event that must end the
    stream; empty: nobody can tell a stream that broke off from one that ended."""

    __slots__ = ("_failed", "_last", "_read", "_usage", "done", "started")

    def __init__(
        self,
        failed: Callable[[str, object], Failure | None],
        read: Callable[[object], tuple[str, Usage | None]],
        last: str = "",
    ) -> None:
        self._last = last
        self._failed = failed
        self._read = read
        self._usage: Usage | None = None
        self.started = False
        self.done = False

    def read(self, event: Event) -> Iterable[Chunk]:
        """One chunk for an event: `data` is its JSON object, or `{"data": ...}` of anything else."""
        self.done = event.data == "[DONE]" or (bool(self._last) and self._last in (event.data, event.name))
        raw = parsed(event.data)
        failure = None if self.done else self._failed(event.name, raw)
        if failure is not None:
            self.done = True
            return (Chunk(failure=failure),)
        self.started = True
        if self.done:
            return (Chunk(content=True, raw=framed(event)),)
        text, usage = self._read(raw)
        told = usage if usage != self._usage else None
        self._usage = usage
        data = raw if isinstance(raw, dict) else {"data": str(raw) if isinstance(raw, NotJSON) else raw}
        return (Chunk(data=data, text=text, content=True, usage=told, raw=framed(event)),)

    def ending(self) -> Failure | None:
        """An event stream ends when its body does, or with its last event; nothing at all is a failure."""
        if not self.started:
            return _empty()
        if self.done or not self._last:
            return None
        message = "the stream broke off before its last event"
        return Failure(kind=Kind.NETWORK, status=200, message=message, billed=True)


class PassingStream:
    """The pieces of a body. `usage` comes with the first of them."""

    __slots__ = ("_opened", "_over", "_usage", "failure", "first_byte_s", "headers", "status")

    def __init__(self, opened: Opened, usage: Usage | None) -> None:
        self.status: int | None = opened.status
        self.headers: Headers = opened.headers
        self.failure: Failure | None = None
        self.first_byte_s: float | None = opened.first_byte_s
        self._opened = opened
        self._usage = usage
        self._over: bool | None = None

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        if self._over:
            raise StopAsyncIteration
        try:
            data = await self._opened.read()
        except WireError as broken:
            await self.aclose()
            return Chunk(failure=broken.failure)
        if data:
            self._opened.begun()
            usage, self._usage, self._over = self._usage, None, False
            return Chunk(content=True, usage=usage, raw=data)
        empty = self._over is None
        await self.aclose()
        if empty:
            return Chunk(failure=_empty())
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Give the connection back, wherever the stream stands; idempotent."""
        self._over = True
        await self._opened.aclose()


def framed(event: Event) -> bytes:
    """An event as a server writes it."""
    name = f"event: {event.name}\n" if event.name else ""
    lines = "".join(f"data: {line}\n" for line in event.data.split("\n"))
    return f"{name}{lines}\n".encode()


def _empty() -> Failure:
    return Failure(kind=Kind.EMPTY, status=200, message="the stream held nothing", billed=True)


def shown(value: object) -> str:
    """The text an event adds: what `content` names, if it is one."""
    return value if isinstance(value, str) else ""


def is_event_stream(status: int, headers: Mapping[str, str]) -> bool:
    """Whether an answer is a stream of events."""
    return 200 <= status < 300 and headers.get("content-type", "").lower().startswith("text/event-stream")
