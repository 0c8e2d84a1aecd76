"""A provider on loopback that answers with bytes, exactly as told: for everything a well-behaved server never sends.

Each connection plays the script from its beginning. Steps are bytes to send, `HANG` (say nothing more until the client
leaves) or `CUT` (drop the connection). `chunked()` keeps boundaries: a client reads one transfer chunk at a time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Self


class Step(Enum):
    """What a script may do besides sending bytes."""

    HANG = "hang"
    CUT = "cut"


HANG = Step.HANG
CUT = Step.CUT
Script = Sequence[bytes | Step]


@dataclass(slots=True)
class Received:
    """One request as it arrived: `head` is the request line and headers."""

    head: str
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header, or None."""
        found = re.search(rf"(?im)^{re.escape(name)}:[ \t]*(.*?)\r?$", self.head)
        return found.group(1) if found else None

    @property
    def target(self) -> str:
        return self.head.split(" ", 2)[1]


@dataclass(slots=True)
class RawProvider:
    """`async with RawProvider(script) as provider:` serves on `provider.base_url` until the block ends."""

    script: Script = ()
    requests: list[Received] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _open: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = field(default_factory=dict)

    @property
    def base_url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        serving = [task for task in self._open.values() if task is not None]
        for writer in self._open:
            writer.transport.abort()
        await asyncio.gather(*serving, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._open)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = asyncio.current_task()
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left.set()
        finally:
            self._open.pop(writer, None)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; False when the connection is done."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = re.search(r"(?im)^content-length:\s*(\d+)", head)
        body = await reader.readexactly(int(length.group(1))) if length else b""
        self.requests.append(Received(head, body))
        self.arrived.set()
        for step in self.script:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            elif step is HANG:
                await reader.read()
                self.left.set()
                return False
            else:
                writer.transport.abort()
                return False
        return True


def response(
    body: bytes = b"", status: int = 200, headers: Mapping[str, str] | None = None, *, kind: str = "application/json"
) -> bytes:
    """A whole HTTP response."""
    lines = [f"HTTP/1.1 {status} Something", f"content-type: {kind}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def chunked(*parts: bytes, kind: str = "text/event-stream", ends: bool = True) -> bytes:
    """A whole HTTP response whose body comes in these transfer chunks; without `ends` it stops short."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part)
    return head + body + (b"0\r\n\r\n" if ends else b"")
