"""What every reader of a JSON event stream must notice: errors, garbage, an end that never came, nothing at all.

A dialect's reader subclasses `JSONReader` and writes `chunks`; it sets `started` when some of the answer arrived and
`finished` when the provider said why it stopped. `done` ends the reading.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable

from apikeyrouter.adapters.jsonhttp import carries_error, parsed
from apikeyrouter.adapters.sse import Event
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.ports import Chunk

Classify = Callable[[object], Failure]
"""Classifies an error that came inside a stream, whose status was 200."""


class JSONReader:
    """Events whose data is JSON, until an end marker, a failure, or a reason to stop."""

    __slots__ = ("classify", "done", "finished", "started")

    def __init__(self, classify: Classify) -> None:
        self.classify = classify
        self.started = False
        self.finished = False
        self.done = False

    def read(self, event: Event) -> Iterable[Chunk]:
        """The chunks an event makes; a failure is the last."""
        if event.data == "[DONE]":
            self.done = True
            return ()
        raw = parsed(event.data)
        if not isinstance(raw, dict):
            return self._failed(_failure(Kind.MALFORMED, "an event of the stream is no JSON object"))
        if self.is_error(event, raw):
            return self._failed(self.classify(raw))
        return self.chunks(event, raw)

    @abstractmethod
    def chunks(self, event: Event, raw: dict[str, object]) -> Iterable[Chunk]:
        """The chunks of an event that is no error."""

    def is_error(self, event: Event, raw: dict[str, object]) -> bool:
        """Whether an event reports a failure."""
        return event.name == "error" or carries_error(raw)

    def ending(self) -> Failure | None:
        """Whether the stream stopped before its end."""
        if not self.started:
            return _failure(Kind.EMPTY, "the stream held no answer")
        return None if self.done or self.finished else _failure(Kind.NETWORK, "the stream broke off before its end")

    def _failed(self, failure: Failure) -> Iterable[Chunk]:
        self.done = True
        return (Chunk(failure=failure),)


def _failure(kind: Kind, message: str) -> Failure:
    return Failure(kind=kind, status=200, message=message, billed=True)
