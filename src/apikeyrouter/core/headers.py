"""Reads what providers write in headers: how much is left, and when to come back. Nothing here raises.

The forms differ by provider and the values come from the network, so every reader takes any text and answers None for
what it does not understand: a header we cannot read must cost knowledge, never a request. Which header means what is
data (`LimitRow`) that adapters pass in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from apikeyrouter.core.model import CONCURRENCY, INPUT, OUTPUT, REQUESTS, TOKENS, Reading

Headers = Mapping[str, str]

MAX_WAIT: Final = 32 * 86_400.0
"""Seconds: no provider names a reset farther away than a month; what says so is an error or an attack."""

_MAX_TEXT: Final = 64
_SKEW: Final = 60.0
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_IN_A_SECOND: Final = {"ns": 1e9, "us": 1e6, "µs": 1e6, "ms": 1e3}
_PART: Final = re.compile(r"(\d{1,15}(?:\.\d{0,15})?)(ns|us|µs|ms|s|m|h|d)", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?\d{1,18}(?:\.\d{0,18})?(?:[eE][+-]?\d{1,2})?", re.ASCII)
_COUNT: Final = re.compile(r"\d{1,18}(?:\.0{0,18})?", re.ASCII)
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d", re.ASCII)


def duration(text: str) -> float | None:
    """Seconds of `6m0s`, `8.64s`, `18ms`, `1h2m3.5s`, `2d`; None for anything else (a bare number too)."""
    source = text.strip()[:_MAX_TEXT]
    total, at = 0.0, 0
    while at < len(source):
        part = _PART.match(source, at)
        if part is None:
            return None
        value, unit = float(part.group(1)), part.group(2)
        total += value * _SECONDS[unit] if unit in _SECONDS else value / _IN_A_SECOND[unit]
        at = part.end()
    return total if at else None


def number(text: str) -> float | None:
    """A plain decimal number, None for anything else (`nan`, `inf` and digits of other scripts too)."""
    source = text.strip()
    return float(source) if len(source) <= _MAX_TEXT and _NUMBER.fullmatch(source) else None


def count(text: str | None) -> int | None:
    """A non-negative whole number, with or without thousands separators (`2,000,000`)."""
    if text is None or len(text) > _MAX_TEXT:
        return None
    source = text.strip().replace(",", "").replace("_", "")
    if source.isdecimal() and len(source) <= 18:
        return int(source)
    return int(float(source)) if _COUNT.fullmatch(source) else None


def moment(text: str) -> float | None:
    """Epoch seconds of an RFC 3339 time or an HTTP date."""
    source = text.strip()
    if len(source) > _MAX_TEXT:
        return None
    try:
        found = _parse_moment(source)
        return found.timestamp() if found is not None else None
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _parse_moment(source: str) -> datetime | None:
    if _RFC3339.match(source):
        found = datetime.fromisoformat(source.replace("z", "Z"))
    elif "," in source or source.endswith("GMT"):
        found = parsedate_to_datetime(source)
    else:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def wait(text: str | None, now: float) -> float | None:
    """Seconds from now, however they are written: a duration, seconds, epoch seconds, epoch milliseconds, a date."""
    if not text or len(text) > _MAX_TEXT:
        return None
    plain = number(text)
    if plain is not None:
        return _from_number(plain, now)
    lasting = duration(text)
    if lasting is not None:
        return lasting if lasting <= MAX_WAIT else None
    when = moment(text)
    return None if when is None else _until(when, now)


def _from_number(value: float, now: float) -> float | None:
    if value > 1e12:
        return _until(value / 1000.0, now)
    if value > 1e9:
        return _until(value, now)
    return value if 0.0 <= value <= MAX_WAIT else None


def _until(when: float, now: float) -> float | None:
    """A moment that has just passed is due now; one long past, or a month away, is a mistake."""
    left = when - now
    if -_SKEW <= left < 0.0:
        return 0.0
    return left if 0.0 <= left <= MAX_WAIT else None


def server_now(headers: Headers, now: float) -> float:
    """The provider's clock where its `date` differs from ours by more than its resolution explains."""
    sent = headers.get("date")
    theirs = moment(sent) if sent else None
    return theirs if theirs is not None and abs(theirs - now) > 2.0 else now


def retry_after(headers: Headers, now: float) -> float | None:
    """Seconds to wait by `retry-after-ms`, else by `retry-after` (seconds, a duration or a date)."""
    exact = headers.get("retry-after-ms")
    if exact is not None:
        value = number(exact)
        if value is not None and 0.0 <= value <= MAX_WAIT * 1000.0:
            return value / 1000.0
    text = headers.get("retry-after")
    if text is None:
        return None
    return wait(text, server_now(headers, now)) if len(text) > 15 else wait(text, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRow:
    """Where one quota is written. Names are lower case.

    `absolute` tells that the reset is a date, to be read against the provider's clock. `unless` names a header whose
    presence makes this row redundant (a summary beside its parts).
    """

    of: int
    limit: str | None = None
    remaining: str | None = None
    reset: str | None = None
    period_s: float | None = None
    absolute: bool = False
    unless: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitTable:
    """The quota headers of one dialect. `structured` adds the IETF fields `RateLimit` and `RateLimit-Policy`."""

    rows: tuple[LimitRow, ...] = ()
    structured: bool = False


def read_limits(table: LimitTable, headers: Headers, now: float) -> tuple[Reading, ...]:
    """Every quota the headers state; of two with the same dimension and period the tighter one."""
    found: list[Reading] = []
    for row in table.rows:
        reading = _read_row(row, headers, now)
        if reading is not None:
            _keep_tighter(found, reading)
    if table.structured:
        for reading in structured_limits(headers, now):
            _keep_tighter(found, reading)
    return tuple(found)


def _read_row(row: LimitRow, headers: Headers, now: float) -> Reading | None:
    if row.unless is not None and row.unless in headers:
        return None
    limit = count(headers.get(row.limit)) if row.limit else None
    remaining = count(headers.get(row.remaining)) if row.remaining else None
    if limit is None and remaining is None:
        return None
    reset = None
    if row.reset is not None and (text := headers.get(row.reset)) is not None:
        reset = wait(text, server_now(headers, now) if row.absolute else now)
    return Reading(row.of, limit, remaining, reset, row.period_s)


def _keep_tighter(found: list[Reading], reading: Reading) -> None:
    for at, other in enumerate(found):
        if other.of == reading.of and other.period_s == reading.period_s:
            if _left(reading) < _left(other):
                found[at] = reading
            return
    found.append(reading)


def _left(reading: Reading) -> float:
    if reading.remaining is not None:
        return reading.remaining
    return reading.limit if reading.limit is not None else float("inf")


_ITEM: Final = re.compile(
    r'(?:"([^"\\]{0,64})"|([A-Za-z][\w.-]{0,63}))'
    r'((?:\s*;\s*[a-z*][\w.*-]*(?:=(?:"[^"]*"|[^;,\s]*))?)*)'
)
_PARAMETER: Final = re.compile(r';\s*([a-z*][\w.*-]*)=("?)([^";,\s]*)\2')
_PAIR: Final = re.compile(r"(limit|remaining|reset)\s*=\s*(\d{1,15})")
_QUOTA_UNITS: Final = {
    "requests": REQUESTS,
    "tokens": TOKENS,
    "input-tokens": INPUT,
    "output-tokens": OUTPUT,
    "concurrent-requests": CONCURRENCY,
}


def structured_limits(headers: Headers, now: float) -> tuple[Reading, ...]:
    """Readings from `RateLimit`/`RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11) and its older forms."""
    state = headers.get("ratelimit", "")[:2048]
    if _PAIR.search(state):
        return _older_list(state, headers)
    policies = _items(headers.get("ratelimit-policy", "")[:2048])
    return tuple(
        reading
        for name, parameters in _items(state).items()
        if (reading := _policy_reading(parameters, policies.get(name, {}), now)) is not None
    )


def _items(text: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for item in _ITEM.finditer(text):
        name = item.group(1) if item.group(1) is not None else item.group(2)
        found[name] = {p.group(1): p.group(3) for p in _PARAMETER.finditer(item.group(3))}
    return found


def _policy_reading(state: Mapping[str, str], policy: Mapping[str, str], now: float) -> Reading | None:
    of = _QUOTA_UNITS.get(policy.get("qu", "requests"))
    remaining = count(state.get("r"))
    if of is None or remaining is None:
        return None
    period = count(policy.get("w"))
    return Reading(of, count(policy.get("q")), remaining, wait(state.get("t"), now), float(period) if period else None)


def _older_list(state: str, headers: Headers) -> tuple[Reading, ...]:
    pairs = {name: int(value) for name, value in _PAIR.findall(state)}
    period = re.search(r"w=(\d{1,9})", headers.get("ratelimit-policy", "")[:256])
    reset = pairs.get("reset")
    seconds = float(reset) if reset is not None and reset <= MAX_WAIT else None
    length = float(period.group(1)) if period else None
    return (Reading(REQUESTS, pairs.get("limit"), pairs.get("remaining"), seconds, length),)
