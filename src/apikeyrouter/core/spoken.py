"""Reads quotas, and whose they are, out of what a provider says when it refuses.

A refusal often tells more than any header: the exact level of the window that refused ("Limit 10000, Used 9000,
Requested 2000"), and the organisation or project it belongs to, by which shared pools are found. The sentences and
objects of several providers share a few forms, and those are here; where they stand is data (`SpokenTable`). What is
not understood is nothing: a sentence that changed must cost knowledge, never a request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from apikeyrouter.core.headers import count
from apikeyrouter.core.jsonpath import Path, find
from apikeyrouter.core.model import INPUT, OUTPUT, REQUESTS, TOKENS, Reading

_UNIT: Final = r"(?P<of>requests|tokens|(?:input|prompt)[ -]tokens|(?:output|completion)[ -]tokens)"
_PER: Final = r"per (?P<per>sec|min|hour|day)[a-z]{0,3}"
_COUNT: Final = r"\d(?:[\d,]{0,22}\d)?"
_A_TIME: Final = r"(?: ?/ ?[a-z]{1,6}\b)?"
_LEVEL: Final = re.compile(
    rf"\b{_UNIT} {_PER}(?: \([A-Za-z]{{2,5}}\))?[:.] ?Limit:? (?P<limit>{_COUNT}){_A_TIME}"
    rf"(?:[,.] (?:Used|Current):? (?P<used>{_COUNT}){_A_TIME})?(?:[,.] Requested:? (?P<requested>{_COUNT}))?",
    re.IGNORECASE | re.ASCII,
)
_OF_LIMIT: Final = re.compile(
    rf"\b{_UNIT} {_PER} \(actual/limit\): (?P<used>{_COUNT})/(?P<limit>{_COUNT})", re.IGNORECASE | re.ASCII
)
_DIMENSIONS: Final = {"requests": REQUESTS, "tokens": TOKENS, "input": INPUT, "prompt": INPUT, "output": OUTPUT,
                      "completion": OUTPUT}  # fmt: skip
_SECONDS: Final = {"sec": 1.0, "min": 60.0, "hour": 3600.0, "day": 86_400.0}
_NAMED: Final = re.compile(r"(?P<of>input|output)?[_ ]?(?P<unit>token|request)", re.IGNORECASE)
_NAMED_PER: Final = re.compile(r"per[_ ]?(?P<per>sec|min|hour)", re.IGNORECASE)
_OWNER: Final = re.compile(r"[A-Za-z0-9][\w./:-]{2,127}", re.ASCII)
_MOST: Final = 16
"""Quotas that one refusal may name."""


@dataclass(frozen=True, slots=True)
class OwnerRule:
    """Where a body names the account: at a path, or as the one group of a pattern in its sentence."""

    path: Path | None = None
    message: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True)
class QuotaObjects:
    """Objects that each describe a violated quota: its limit's field, and those whose values name unit and period."""

    path: Path
    limit: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenTable:
    """Where a dialect's refusals speak of quotas. `headers` are objects that hold another answer's headers."""

    owners: tuple[OwnerRule, ...] = ()
    quotas: tuple[QuotaObjects, ...] = ()
    headers: tuple[Path, ...] = ()


NOTHING_SPOKEN: Final = SpokenTable()
"""Sentences are still read; nothing else is known of the body."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A quota as a refusal states it; `requested` is what the refused request was charged, where it is told."""

    reading: Reading
    requested: int | None = None

    @property
    def wait_s(self) -> float | None:
        """Seconds until what was requested has flowed back; None when the numbers do not tell."""
        r = self.reading
        if self.requested is None or not r.limit or r.remaining is None or not r.period_s or self.requested > r.limit:
            return None
        return max(0.0, (self.requested - r.remaining) * r.period_s / r.limit)


def quotas(table: SpokenTable, message: str, body: object) -> tuple[Spoken, ...]:
    """Every quota that a refusal states with a limit: in its sentence, and as objects in its body."""
    found = [_sentence(each) for pattern in (_LEVEL, _OF_LIMIT) for each in pattern.finditer(message)]
    for objects in table.quotas:
        found += [_object(objects, each) for each in find(objects.path, body) if isinstance(each, Mapping)]
    return tuple(one for one in found[:_MOST] if one is not None)


def _sentence(found: re.Match[str]) -> Spoken | None:
    said = found.groupdict()
    limit, used = count(said["limit"]), count(said["used"])
    if limit is None:
        return None
    of = _DIMENSIONS[re.split("[ -]", said["of"].lower())[0]]
    remaining = None if used is None else max(0, limit - used)
    period = _SECONDS[said["per"].lower()]
    return Spoken(Reading(of, limit, remaining, None, period), count(said.get("requested")))


def _object(where: QuotaObjects, given: Mapping[object, object]) -> Spoken | None:
    """A violated quota has nothing left for such a request, so its level is taken for 0.

    Daily ones are left to the date until which the pool is exhausted: they turn at a midnight that is not told here,
    and a bucket learned from them would go on refusing on the next day.
    """
    limit = count(str(given.get(where.limit, "")))
    name = " ".join(str(given[each])[:256] for each in where.names if isinstance(given.get(each), str))
    unit, per = _NAMED.search(name), _NAMED_PER.search(name)
    if limit is None or unit is None or per is None:
        return None
    of = {"input": INPUT, "output": OUTPUT}.get((unit["of"] or "").lower(), TOKENS)
    requests = unit["unit"].lower() == "request"
    return Spoken(Reading(REQUESTS if requests else of, limit, 0, None, _SECONDS[per["per"].lower()]))


def owner(table: SpokenTable, message: str, body: object) -> tuple[str, ...]:
    """The account a refusal names, every part of it in order; empty where nothing is named."""
    named = []
    for rule in table.owners:
        if rule.message is not None:
            found = rule.message.search(message)
            said: object = found.group(1) if found is not None else None
        else:
            said = next(find(rule.path or (), body), None)
        named.append(said if isinstance(said, str) and _OWNER.fullmatch(said) else "")
    return tuple(named) if any(named) else ()


def carried(table: SpokenTable, body: object) -> dict[str, str]:
    """Headers of the answer behind this one, that its body carries; names in lower case."""
    found: dict[str, str] = {}
    for path in table.headers:
        for given in find(path, body):
            if isinstance(given, Mapping):
                found |= {str(name).lower(): str(value) for name, value in given.items() if _plain(value)}
    return found


def _plain(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)
