"""Server-sent events out of any sequence of bytes (WHATWG HTML, section 9.2, read 2026-11).

Chunks end anywhere: inside a character, inside a line, between a carriage return and its line feed. Lines are therefore
cut from bytes and decoded when complete. Comments (keep-alives) vanish, and a line that never ends is bounded.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024


class Event(NamedTuple):
    """`name` is empty where the server gave none; `data` joins the event's data lines with line feeds."""

    name: str
    data: str


class EventTooLongError(Exception):
    """One event is longer than the bound; the stream cannot be followed any further."""


class Decoder:
    """Feed it bytes as they come; it returns the events that are complete."""

    __slots__ = ("_data", "_held", "_last_cr", "_limit", "_name", "_parts", "_started")

    def __init__(self, limit: int = MAX_EVENT_BYTES) -> None:
        self._parts: list[bytes] = []
        self._data: list[str] = []
        self._name = ""
        self._held = 0
        self._limit = limit
        self._last_cr = False
        self._started = False

    def feed(self, chunk: bytes) -> list[Event]:
        """Events completed by this chunk. Raises EventTooLongError."""
        if chunk[:6] == b"data: " and chunk.find(b"\n") == len(chunk) - 2 and self._is_idle(chunk):
            return [Event("", chunk[6:-2].decode("utf-8", "replace"))]
        chunk = self._plain_ends(chunk)
        if b"\n" not in chunk:
            self._hold(chunk)
            return []
        lines = chunk.split(b"\n")
        if self._parts:
            lines[0] = b"".join((*self._parts, lines[0]))
        rest = lines.pop()
        self._parts = [rest] if rest else []
        self._held = len(rest)
        return self._take(lines)

    def finish(self) -> list[Event]:
        """What the end of the stream leaves: an event whose last blank line, or line feed, never came."""
        lines = [b"".join(self._parts)] if self._parts else []
        self._parts = []
        return self._take([*lines, b""])

    def _is_idle(self, chunk: bytes) -> bool:
        """Whether nothing is held, so that a chunk that looks like one event of one line is one; most chunks are."""
        held = self._parts or self._data or self._name or self._last_cr
        return not held and chunk[-1:] == b"\n" and b"\r" not in chunk and len(chunk) <= self._limit

    def _plain_ends(self, chunk: bytes) -> bytes:
        if self._last_cr:
            self._last_cr = False
            if chunk[:1] == b"\n":
                chunk = chunk[1:]
        if b"\r" in chunk:
            self._last_cr = chunk.endswith(b"\r")
            return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return chunk

    def _hold(self, chunk: bytes) -> None:
        self._held += len(chunk)
        if self._held > self._limit:
            raise EventTooLongError
        if chunk:
            self._parts.append(chunk)

    def _take(self, lines: list[bytes]) -> list[Event]:
        found: list[Event] = []
        for raw in lines:
            if raw:
                self._line(raw)
            elif self._data or self._name:
                if self._data:
                    found.append(Event(self._name, "\n".join(self._data)))
                self._data, self._name = [], ""
        return found

    def _line(self, raw: bytes) -> None:
        if not self._started:
            self._started = True
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        field, _, value = raw.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            if sum(map(len, self._data)) + len(value) > self._limit:
                raise EventTooLongError
            self._data.append(value)
        elif field == "event":
            self._name = value
