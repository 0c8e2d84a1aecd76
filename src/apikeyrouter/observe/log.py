"""Events to structlog: one line a fact, with ids and numbers, never a body, a score or a secret.

What happens to every request (acquired, settled) is debug and only listened for when somebody would see it; changes of
state are info, failures and refusals warnings.
"""

from __future__ import annotations

import logging
from dataclasses import fields
from typing import Final, Protocol

import structlog

from apikeyrouter.events import (
    Acquired,
    Announcer,
    BreakerChanged,
    BudgetCrossed,
    Event,
    ExhaustionNear,
    Expired,
    Failed,
    HookFailed,
    PoolsShared,
    Probed,
    Refused,
    Settled,
    StateChanged,
)

LEVELS: Final[dict[type[Event], int]] = {
    Acquired: logging.DEBUG,
    Settled: logging.DEBUG,
    StateChanged: logging.INFO,
    PoolsShared: logging.WARNING,
    ExhaustionNear: logging.INFO,
    BreakerChanged: logging.WARNING,
    Probed: logging.DEBUG,
    BudgetCrossed: logging.WARNING,
    Expired: logging.WARNING,
    Failed: logging.INFO,
    Refused: logging.INFO,
    HookFailed: logging.ERROR,
}
"""A log for a library is quiet: the caller learns of a refusal by the exception."""

_NAMES: Final = {Acquired: "acquired", Settled: "settled", StateChanged: "state_changed", PoolsShared: "pools_shared",
                 ExhaustionNear: "exhaustion_near", HookFailed: "hook_failed",
                 BreakerChanged: "breaker_changed", BudgetCrossed: "budget_crossed", Expired: "lease_expired",
                 Probed: "probed", Failed: "attempt_failed", Refused: "refused"}  # fmt: skip


class Log(Protocol):
    def log(self, level: int, event: str, **fields: object) -> object: ...


def attach(announcer: Announcer, log: Log | None = None) -> None:
    """Write `announcer`'s events; by default to the standard logger "apikeyrouter" through structlog."""
    standard = logging.getLogger("apikeyrouter")
    target: Log = log if log is not None else structlog.wrap_logger(standard, processors=_processors())
    for kind, level in LEVELS.items():
        if log is not None or standard.isEnabledFor(level):
            announcer.subscribe(kind, _writer(target, kind, level))


def _processors() -> list[structlog.typing.Processor]:
    return [
        structlog.stdlib.filter_by_level,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.render_to_log_kwargs,
    ]


class _writer:  # noqa: N801  (a function with a name in tracebacks, made once for each kind)
    def __init__(self, log: Log, kind: type[Event], level: int) -> None:
        self.log, self.level, self.name = log, level, _NAMES[kind]
        self.fields = tuple(f.name for f in fields(kind) if f.name != "at")

    def __call__(self, event: Event) -> None:
        values = {name: getattr(event, name) for name in self.fields}
        self.log.log(self.level, self.name, component="router", **values)
