"""Reads what went wrong out of an answer: a status, headers and a body in, a `Failure` out. One table for each dialect.

The body's code decides before the status: money can look like an authentication error (a 403 "used all credits"),
authentication like a bad request, overload like a success. Rules are data that adapters pass in; no provider is named
here. What a status means to HTTP itself is the last resort.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.headers import MAX_WAIT, duration, moment, number, retry_after, wait
from apikeyrouter.core.jsonpath import Path, find, first
from apikeyrouter.core.model import Reading
from apikeyrouter.core.period import ends_at
from apikeyrouter.core.scrub import scrub, sentence
from apikeyrouter.core.spoken import NOTHING_SPOKEN, Spoken, SpokenTable, owner, quotas

_MAX_TEXT: Final = 4096
_MAX_CODE: Final = 64
_TRY_AGAIN: Final = re.compile(
    r"(?i)(?:try again|retry|available)\s+(?:in|after)\s+"
    r"(?:(\d[\d.]{0,15})\s*(milliseconds?|seconds?|secs?|minutes?|mins?|hours?)"
    r"|((?:\d[\d.]{0,15}(?:ms|us|ns|h|m|s|d))+))"
)
_SPOKEN_UNITS: Final = {"mil": 1e-3, "sec": 1.0, "min": 60.0, "hou": 3600.0}
_ON_DATE: Final = re.compile(r"(?:on|until|after)\s+(\d{4}-\d\d-\d\d)(?:(?:T|\s+at\s+|\s+)(\d\d:\d\d))?")


class Until(StrEnum):
    """A date that a failure implies."""

    DAY = "day"
    MONTH = "month"
    MESSAGE = "message"


HTTP_STATUS: Final[Mapping[int, Kind]] = {
    401: Kind.UNAUTHENTICATED,
    402: Kind.NO_MONEY,
    403: Kind.FORBIDDEN,
    408: Kind.TIMEOUT,
    413: Kind.TOO_LONG,
    429: Kind.RATE_LIMITED,
    499: Kind.TIMEOUT,
    502: Kind.SERVER_ERROR,
    503: Kind.OVERLOADED,
    504: Kind.TIMEOUT,
    529: Kind.OVERLOADED,
}
"""What a status means when no rule knows better; other 4xx are the request's fault, other 5xx the server's."""

_MAY_BE_BILLED: Final = frozenset({499, 504})
_QUOTA: Final = frozenset({Kind.RATE_LIMITED, Kind.SLOW_DOWN, Kind.QUOTA_EXHAUSTED, Kind.TOO_LARGE_FOR_POOL})
"""Refusals that may state the quota they are about; a limit of 0 among these means: not on this plan."""
_WAITS: Final = frozenset(
    {
        Kind.RATE_LIMITED,
        Kind.SLOW_DOWN,
        Kind.QUOTA_EXHAUSTED,
        Kind.NO_MONEY,
        Kind.IN_FLIGHT_MONEY,
        Kind.OVERLOADED,
        Kind.SERVER_ERROR,
        Kind.TIMEOUT,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyTest:
    """True when some value at `path` equals `equals`, or its text matches `matches`; with neither: when it exists."""

    path: Path
    equals: object = None
    matches: re.Pattern[str] | None = None

    def __call__(self, body: object) -> bool:
        return any(self._one(value) for value in find(self.path, body))

    def _one(self, value: object) -> bool:
        if self.matches is not None:
            return isinstance(value, str | int | float) and self.matches.search(str(value)[:_MAX_TEXT]) is not None
        return value == self.equals if self.equals is not None else value is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row of an error table: every condition that is set must hold, then `means` is what happened.

    `codes` are compared with every code the body names, lower case. `retry_after` is the wait (seconds) where the
    provider names none. `until` with `zone` is the date such a failure implies, and beats what the provider suggests.
    """

    means: Kind
    statuses: frozenset[int] = frozenset()
    codes: frozenset[str] = frozenset()
    message: re.Pattern[str] | None = None
    header: tuple[str, re.Pattern[str]] | None = None
    body: BodyTest | None = None
    until: Until | None = None
    zone: str = "UTC"
    retry_after: float | None = None
    billed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorTable:
    """How one dialect words its errors: where codes, sentences and waits are, and the rules, first match wins."""

    rules: tuple[Rule, ...] = ()
    codes: tuple[Path, ...] = ()
    messages: tuple[Path, ...] = ()
    waits: tuple[Path, ...] = ()
    spoken: SpokenTable = NOTHING_SPOKEN


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evidence:
    answered: int | None
    status: int | None
    headers: Mapping[str, str]
    body: object
    codes: tuple[str, ...]
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waits:
    table: ErrorTable
    kind: Kind
    rule: Rule | None
    readings: tuple[Reading, ...]
    spoken: tuple[Spoken, ...]


def classify(
    table: ErrorTable,
    status: int | None,
    headers: Mapping[str, str],
    body: object,
    *,
    now: float,
    readings: tuple[Reading, ...] = (),
    carried: tuple[Reading, ...] = (),
    secret: str | None = None,
) -> Failure:
    """What a refusal means. `body` is parsed JSON or text, `readings` what the same answer's quota headers said,
    `carried` what headers inside the body said.

    An HTTP 200 that carries an error is read by the status inside it, where there is one.
    """
    evidence = _gather(table, status, headers, body)
    rule = next((rule for rule in table.rules if _holds(rule, evidence)), None)
    kind = rule.means if rule is not None else _by_status(evidence.status)
    spoken = quotas(table.spoken, evidence.message, evidence.body) if kind in _QUOTA else ()
    told = (*carried, *(each.reading for each in spoken))
    if kind in _QUOTA and any(each.limit == 0 for each in (*readings, *told)):
        kind, rule = Kind.NOT_ON_PLAN, None
    until = _date(rule, evidence.message, now)  # until a date nothing is sent, and a level of now would be stale then
    waits = _Waits(table=table, kind=kind, rule=rule, readings=(*readings, *carried), spoken=spoken)
    wait_s, source = (until - now, "date") if until is not None else _wait(waits, evidence, now)
    return Failure(
        kind=kind,
        status=evidence.status,
        code=_shown_code(rule, evidence.codes),
        message=sentence(evidence.message, secret) or _plain_sentence(evidence.status),
        retry_after=wait_s,
        wait_from=source,
        until=until,
        billed=rule.billed if rule is not None else evidence.status in _MAY_BE_BILLED,
        readings=told if until is None else (),
        owner=owner(table.spoken, evidence.message, evidence.body),
    )


def refused(table: ErrorTable, status: int, headers: Mapping[str, str], body: object) -> bool:
    """Whether a success is a failure by a rule that names its status (`200 {"status": "OVER_QUERY_LIMIT"}`)."""
    rules = [rule for rule in table.rules if status in rule.statuses]
    if not rules:
        return False
    evidence = _gather(table, status, headers, body)
    return any(_holds(rule, evidence) for rule in rules)


def _gather(table: ErrorTable, status: int | None, headers: Mapping[str, str], body: object) -> _Evidence:
    inner = body[0] if isinstance(body, list) and body else body
    found = [value for path in table.codes for value in find(path, inner) if _is_code(value)]
    codes = tuple(str(value)[:_MAX_CODE].lower() for value in found)
    effective = _effective_status(status, codes)
    return _Evidence(
        answered=status, status=effective, headers=headers, body=inner, codes=codes, message=_message(table, inner)
    )


def _is_code(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def _effective_status(status: int | None, codes: tuple[str, ...]) -> int | None:
    if status is not None and status >= 300:
        return status
    inner = next((int(code) for code in codes if len(code) == 3 and code.isdecimal() and code >= "400"), None)
    return inner if inner is not None else status


def _message(table: ErrorTable, body: object) -> str:
    if isinstance(body, str):
        return "" if body.lstrip().startswith("<") else body[:_MAX_TEXT]
    found = (value for path in table.messages for value in find(path, body))
    return next((value[:_MAX_TEXT] for value in found if isinstance(value, str) and value.strip()), "")


def _holds(rule: Rule, seen: _Evidence) -> bool:
    if rule.statuses and rule.statuses.isdisjoint((seen.status, seen.answered)):
        return False
    if rule.codes and rule.codes.isdisjoint(seen.codes):
        return False
    if rule.message is not None and rule.message.search(seen.message) is None:
        return False
    if rule.header is not None:
        value = seen.headers.get(rule.header[0])
        if value is None or rule.header[1].search(value) is None:
            return False
    return rule.body is None or rule.body(seen.body)


def _by_status(status: int | None) -> Kind:
    if status is None:
        return Kind.NETWORK
    if status < 400:
        return Kind.MALFORMED
    return HTTP_STATUS.get(status) or (Kind.INVALID if status < 500 else Kind.SERVER_ERROR)


def _shown_code(rule: Rule | None, codes: tuple[str, ...]) -> str | None:
    if rule is not None and rule.codes:
        return next((code for code in codes if code in rule.codes), None)
    code = next((code for code in codes if not code.isdecimal()), None)
    return scrub(code) if code is not None else None


def _plain_sentence(status: int | None) -> str:
    if status is None:
        return "no answer came from the provider"
    return f"the provider answered {status} without a sentence"


def _wait(known: _Waits, seen: _Evidence, now: float) -> tuple[float | None, str]:
    """By precedence: retry-after-ms, retry-after, the body, its sentence (the wait it names, else what its numbers
    say), the reset of what is used up, the rule; and which of them it was."""
    if known.kind not in _WAITS:
        return None, ""
    told = (
        ("header", retry_after(seen.headers, now)),
        ("body", _body_wait(known.table, seen.body, now)),
        ("message", _spoken_wait(seen.message)),
        ("message", max((s for each in known.spoken if (s := each.wait_s) is not None), default=None)),
        ("quota", max((r.reset_s for r in known.readings if r.remaining == 0 and r.reset_s is not None), default=None)),
        ("rule", None if known.rule is None else known.rule.retry_after),
    )
    return next(((seconds, source) for source, seconds in told if seconds is not None), (None, ""))


def _body_wait(table: ErrorTable, body: object, now: float) -> float | None:
    for path in table.waits:
        value = first(path, body)
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            seconds = wait(str(value), now)
            if seconds is not None:
                return seconds
    return None


def _spoken_wait(message: str) -> float | None:
    found = _TRY_AGAIN.search(message)
    if found is None:
        return None
    amount, unit, compact = found.groups()
    if compact is not None:
        return duration(compact)
    value = number(amount)
    return None if value is None else value * _SPOKEN_UNITS[unit.lower()[:3]]


def _date(rule: Rule | None, message: str, now: float) -> float | None:
    if rule is None or rule.until is None:
        return None
    if rule.until is Until.DAY:
        return _calendar("day", now, rule.zone)
    spoken = _spoken_date(message, now)
    if spoken is not None or rule.until is Until.MESSAGE:
        return spoken
    return _calendar("month", now, rule.zone)


def _spoken_date(message: str, now: float) -> float | None:
    """`... regain access on 2026-12-01 at 00:00 UTC`: the date a sentence names, if it lies within 32 days."""
    found = _ON_DATE.search(message)
    if found is None:
        return None
    when = moment(f"{found.group(1)}T{found.group(2) or '00:00'}:00Z")
    return when if when is not None and 0.0 <= when - now <= MAX_WAIT else None


def _calendar(period: str, now: float, zone: str) -> float:
    """When a day or month ends in a zone, or in UTC where the machine has no zone data: late beats never."""
    try:
        return ends_at(period, now, zone)
    except (KeyError, ValueError, OSError):
        return ends_at(period, now)
