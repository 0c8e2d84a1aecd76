"""Error rules and quota headers from plain data, for the tables we ship and for users' configuration alike.

One grammar: `{status: 403, body: {path: $.code, equals: quota}, means: quota_exhausted}`. Every mistake is collected as
a sentence that names its place; nothing raises here, so that a file's author sees all of them at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from apikeyrouter.adapters.narrow import integer, items, mapping, text
from apikeyrouter.core.classify import BodyTest, Rule, Until
from apikeyrouter.core.failure import Kind
from apikeyrouter.core.headers import LimitRow, LimitTable, duration
from apikeyrouter.core.jsonpath import Path, parse
from apikeyrouter.core.model import DIMENSIONS

_RULE_WORDS: Final = frozenset(
    {"status", "code", "message", "header", "body", "means", "until", "zone", "retry_after", "billed"}
)
_ROW_WORDS: Final = frozenset({"of", "limit", "remaining", "reset", "period", "absolute", "unless"})
_MAX_PATTERN: Final = 512


@dataclass(slots=True)
class Problems:
    """Sentences about mistakes, in the order they were met."""

    found: list[str]

    def add(self, where: str, sentence: str) -> None:
        self.found.append(f"{where}: {sentence}")

    def unknown(self, where: str, raw: Mapping[str, object], known: frozenset[str]) -> None:
        for name in raw:
            if name not in known:
                self.add(where, f"'{name}' is not known here; use {', '.join(sorted(known))}")


def path(raw: object, where: str, problems: Problems) -> Path | None:
    """A JSONPath, or None with a problem noted."""
    if not isinstance(raw, str) or not raw:
        problems.add(where, "a path is a text like $.a.b[0].c")
        return None
    try:
        return parse(raw)
    except ValueError as error:
        problems.add(where, str(error))
        return None


def paths(raw: object, where: str, problems: Problems) -> tuple[Path, ...]:
    given = [raw] if isinstance(raw, str) else items(raw)
    found = (path(one, where, problems) for one in given)
    return tuple(one for one in found if one is not None)


def pattern(raw: object, where: str, problems: Problems) -> re.Pattern[str] | None:
    """A regular expression, case-insensitive, of at most 512 characters."""
    if not isinstance(raw, str) or not raw or len(raw) > _MAX_PATTERN:
        problems.add(where, f"a pattern is a regular expression of 1 to {_MAX_PATTERN} characters")
        return None
    try:
        return re.compile(raw, re.IGNORECASE)
    except re.error as error:
        problems.add(where, f"the regular expression is broken: {error}")
        return None


def rule(raw: object, where: str, problems: Problems) -> Rule | None:
    """One error rule, or None with problems noted."""
    if not isinstance(raw, Mapping):
        problems.add(where, "a rule is a mapping like {status: 429, means: rate_limited}")
        return None
    known = len(problems.found)
    problems.unknown(where, raw, _RULE_WORDS)
    kind = _kind(raw.get("means"), where, problems)
    made = Rule(
        means=kind,
        statuses=_statuses(raw.get("status"), where, problems),
        codes=frozenset(str(code).lower() for code in _one_or_many(raw.get("code"))),
        message=pattern(raw["message"], f"{where}.message", problems) if "message" in raw else None,
        header=_header(raw["header"], f"{where}.header", problems) if "header" in raw else None,
        body=_body(raw["body"], f"{where}.body", problems) if "body" in raw else None,
        until=_until(raw["until"], where, problems) if "until" in raw else None,
        zone=_zone(raw.get("zone", "UTC"), where, problems),
        retry_after=_seconds(raw.get("retry_after"), f"{where}.retry_after", problems),
        billed=raw.get("billed") is True,
    )
    if not (_RULE_WORDS - {"means", "until", "zone", "retry_after", "billed"}) & raw.keys():
        problems.add(where, "a rule without any condition would match every failure; add status, code, message or body")
    return made if len(problems.found) == known else None


def rules(raw: object, where: str, problems: Problems) -> tuple[Rule, ...]:
    if raw is not None and not isinstance(raw, list):
        problems.add(where, "write a list of rules")
    made = (rule(one, f"{where}[{at}]", problems) for at, one in enumerate(items(raw)))
    return tuple(one for one in made if one is not None)


def _one_or_many(raw: object) -> list[object]:
    return [] if raw is None else items(raw) if isinstance(raw, list) else [raw]


def _kind(raw: object, where: str, problems: Problems) -> Kind:
    try:
        return Kind(text(raw))
    except ValueError:
        problems.add(where, f"means is {raw!r}; use one of {', '.join(Kind)}")
        return Kind.INVALID


def _statuses(raw: object, where: str, problems: Problems) -> frozenset[int]:
    found: set[int] = set()
    for one in _one_or_many(raw):
        if isinstance(one, str) and re.fullmatch(r"[1-5]xx", one):
            found.update(range(int(one[0]) * 100, int(one[0]) * 100 + 100))
        elif isinstance(one, int) and not isinstance(one, bool) and 100 <= one <= 599:
            found.add(one)
        else:
            problems.add(where, f"status is {one!r}; write a number from 100 to 599, or 5xx")
    return frozenset(found)


def _header(raw: object, where: str, problems: Problems) -> tuple[str, re.Pattern[str]] | None:
    if isinstance(raw, str):
        return (raw.lower(), re.compile(""))
    given = mapping(raw)
    name = text(given.get("name")).lower()
    if not name:
        problems.add(where, "a header condition is {name: X-Reason, matches: quota}")
        return None
    found = pattern(given.get("matches", ".*"), where, problems)
    return (name, found) if found is not None else None


def _body(raw: object, where: str, problems: Problems) -> BodyTest | None:
    given = mapping(raw)
    if not given or ("equals" in given and "matches" in given):
        problems.add(where, "a body condition is {path: $.code, equals: quota} or {path: $.code, matches: 'quota'}")
        return None
    problems.unknown(where, given, frozenset({"path", "equals", "matches"}))
    at = path(given.get("path"), f"{where}.path", problems)
    matches = pattern(given["matches"], f"{where}.matches", problems) if "matches" in given else None
    return BodyTest(path=at, equals=given.get("equals"), matches=matches) if at is not None else None


def _until(raw: object, where: str, problems: Problems) -> Until | None:
    try:
        return Until(text(raw))
    except ValueError:
        problems.add(where, f"until is {raw!r}; use one of {', '.join(Until)}")
        return None


def _zone(raw: object, where: str, problems: Problems) -> str:
    name = text(raw)
    if not _zone_exists(name) and _zone_exists("America/Los_Angeles"):
        problems.add(where, f"zone {raw!r} is unknown here; write it like America/Los_Angeles")
    return name


def _zone_exists(name: str) -> bool:
    """False for every name on a machine without zone data."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _seconds(raw: object, where: str, problems: Problems) -> float | None:
    if raw is None:
        return None
    value = float(raw) if isinstance(raw, int | float) and not isinstance(raw, bool) else duration(text(raw))
    if value is None or value < 0.0:
        problems.add(where, f"{raw!r} is no time; write seconds, or a duration like 90s or 1m30s")
        return None
    return value


def limit_table(raw: object, where: str, problems: Problems) -> LimitTable:
    """Quota headers: `{structured: true, rows: [{of: requests, limit: x-limit, remaining: x-left}]}`."""
    given = mapping(raw)
    made = (_row(one, f"{where}.rows[{at}]", problems) for at, one in enumerate(items(given.get("rows"))))
    return LimitTable(rows=tuple(one for one in made if one is not None), structured=given.get("structured") is True)


def _row(raw: object, where: str, problems: Problems) -> LimitRow | None:
    given = mapping(raw)
    problems.unknown(where, given, _ROW_WORDS)
    if text(given.get("of")) not in DIMENSIONS:
        problems.add(where, f"of is {given.get('of')!r}; use one of {', '.join(DIMENSIONS)}")
        return None
    names = {word: text(given.get(word)).lower() or None for word in ("limit", "remaining", "reset", "unless")}
    return LimitRow(
        of=DIMENSIONS.index(text(given.get("of"))),
        limit=names["limit"],
        remaining=names["remaining"],
        reset=names["reset"],
        unless=names["unless"],
        period_s=float(integer(given.get("period"))) or None,
        absolute=given.get("absolute") is True,
    )
