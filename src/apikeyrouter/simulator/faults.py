"""What goes wrong on purpose, whom it hits and how often. Chosen here, acted out in `turn.py`.

A fault is matched by organisation, key, model and operation (globs), can be bounded in number and in time, and can be
random (`rate`, drawn from the world's seed). The first that matches wins; delays add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from random import Random
from typing import Literal

__all__ = ["KINDS", "Fault", "Faults"]

Kind = Literal[
    "error",
    "delay",
    "hang",
    "drop",
    "stream_error",
    "empty_stream",
    "malformed",
    "slow_headers",
    "slow_body",
    "huge_body",
]
KINDS: tuple[Kind, ...] = (
    "error",  # a failure instead of the answer: `error` by name, or `status` with `body`
    "delay",  # `seconds` more before the first byte
    "hang",  # accepted, then nothing for `seconds` (0: until the client gives up)
    "drop",  # the connection breaks: at once, or in the stream after `after` pieces
    "stream_error",  # 200, `after` pieces, then the dialect's error event
    "empty_stream",  # 200 and the end
    "malformed",  # 200 and half of a JSON text
    "slow_headers",  # the response line after `seconds`, although the work is done
    "slow_body",  # headers at once, the body after `seconds`
    "huge_body",  # the answer followed by `size` blanks
)


@dataclass(slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong.

    `times`: only the next so many. `rate`: share of the matching requests. `starts_s`, `ends_s`: seconds since the
    world's first request. `charge`: what a request costs that failed this way: everything, one request, or nothing.
    `hits` counts.
    """

    kind: Kind
    organisation: str = "*"
    key: str = "*"
    model: str = "*"
    operation: str = "*"
    times: int | None = None
    rate: float = 1.0
    starts_s: float = 0.0
    ends_s: float = float("inf")
    error: str = "server_error"
    status: int | None = None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    after: int = 1
    size: int = 1_000_000
    charge: Literal["all", "requests", "nothing"] = "requests"
    on: bool = True
    hits: int = 0

    def matches(self, at_s: float, organisation: str, key: str, model: str, operation: str) -> bool:
        return (
            self.on
            and self.times != 0
            and self.starts_s <= at_s < self.ends_s
            and _like(organisation, self.organisation)
            and _like(key, self.key)
            and _like(model, self.model)
            and _like(operation, self.operation)
        )

    def strike(self) -> None:
        self.hits += 1
        if self.times is not None:
            self.times -= 1

    def stop(self) -> None:
        """From now on it strikes nobody."""
        self.on = False


def _like(name: str, pattern: str) -> bool:
    return pattern == "*" or name == pattern or fnmatchcase(name, pattern)


class Faults:
    """The faults of a world, in the order in which they were added."""

    def __init__(self, seed: int, first: Iterable[Fault] = ()) -> None:
        self._rng = Random(seed)
        self._all = [replace(fault) for fault in first]

    def add(self, fault: Fault) -> Fault:
        """Switch it on; the same object switches it off (`fault.stop()`) and counts (`fault.hits`)."""
        self._all = [*self._all, fault]
        return fault

    def fail_next(
        self,
        times: int,
        *,
        error: str = "server_error",
        status: int | None = None,
        body: bytes = b"",
        key: str = "*",
        organisation: str = "*",
        model: str = "*",
    ) -> Fault:
        """The next `times` matching requests fail, with the dialect's error of that name or `status` and `body`."""
        return self.add(
            Fault(
                kind="error",
                times=times,
                error=error,
                status=status,
                body=body,
                key=key,
                organisation=organisation,
                model=model,
            )
        )

    def clear(self) -> None:
        self._all = []

    def all(self) -> tuple[Fault, ...]:
        return tuple(self._all)

    def strike(
        self, at_s: float, organisation: str, key: str, model: str, operation: str
    ) -> tuple[float, Fault | None]:
        """(seconds of delay, the fault that hits this request)."""
        delay, chosen = 0.0, None
        for fault in self._all:
            if chosen is not None and fault.kind != "delay":
                continue
            if not fault.matches(at_s, organisation, key, model, operation):
                continue
            if fault.rate < 1.0 and self._rng.random() >= fault.rate:
                continue
            fault.strike()
            if fault.kind == "delay":
                delay += fault.seconds
            else:
                chosen = fault
        return delay, chosen
