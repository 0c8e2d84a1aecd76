"""What somebody declared about money: who may spend how much in which period. Validated once, counted elsewhere.

Every mistake in a declaration is one sentence, so that a configuration can show all of them at once. The live counters
of a declaration are `escrow.Node`; the tree that holds them is `budget.BudgetTree`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from typing import Final, Literal, cast
from zoneinfo import ZoneInfoNotFoundError

from apikeyrouter.core.frozen import Frozen
from apikeyrouter.core.model import nano
from apikeyrouter.core.period import SECONDS, zone_of
from apikeyrouter.errors import InvalidConfigurationError

Mode = Literal["hard", "soft"]
PERIODS: Final = ("minute", "hour", "day", "week", "month", "total")
REQUEST_SCOPES: Final = ("global", "tenant", "user", "tag", "route")
"""Scopes known before a key is looked for; the others depend on the candidate."""
CANDIDATE_SCOPES: Final = ("provider", "pool", "key", "model")

_ROLLING = re.compile(r"rolling\s+(\d+)\s*([mhdw])$")
_UNIT_SECONDS: Final = {"m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_NUMBER = r"[-+]?(?:\d{1,3}(?:,\d{3})+|[\d_]*)(?:\.\d+)?(?:[eE][-+]?\d+)?"
_AMOUNT = re.compile(rf"(?=.*\d)\$?\s*(?P<number>{_NUMBER})\s*(?P<currency>[A-Za-z]{{3}})?$")
"""A comma groups thousands; as a decimal sign it is refused, because 1,5 would be read as fifteen."""


def amount(text: Decimal | str | float, what: str) -> Decimal:
    """Dollars of "100", "$100", "100 USD" or a number; raises InvalidConfigurationError naming `what`."""
    if isinstance(text, Decimal | int | float) and not isinstance(text, bool):
        number, currency = str(text), "USD"
    elif isinstance(text, str) and (found := _AMOUNT.match(text.strip())):
        number, currency = found["number"].replace("_", "").replace(",", ""), (found["currency"] or "USD").upper()
    else:
        raise InvalidConfigurationError(f"{what} is {text!r}; write an amount such as '20 USD'.")
    if currency != "USD":
        raise InvalidConfigurationError(f"{what} is in {currency}; amounts are in USD only, so convert it.")
    try:
        value = Decimal(number)
    except InvalidOperation:
        raise InvalidConfigurationError(f"{what} is {text!r}; write an amount such as '20 USD'.") from None
    if not value.is_finite() or value < 0:
        raise InvalidConfigurationError(f"{what} is {text}; give a finite amount of 0 USD or more.")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A limit on spend, in dollars, for a scope and a period.

    `scope` is global, provider:, pool:, key:, model:, route:, tenant:, user: or tag:name=value. A value of `*` opens
    one counter each; a glob such as `gpt-4*` shares one. `period` is a calendar period in `timezone`, "rolling 24h"
    (m, h, d, w), or "total". A hard budget refuses what it cannot hold; a soft one reports and may `downgrade` models.
    `spent` is what was spent before the router started, in the current period. `thresholds` are fractions of the limit.
    """

    scope: str
    limit: Decimal | str
    period: str = "day"
    timezone: str = "UTC"
    mode: str = "hard"
    spent: Decimal | str = Decimal(0)
    thresholds: tuple[float, ...] = (0.5, 0.8, 1.0)
    downgrade: Mapping[str, str] = field(default_factory=lambda: Frozen({}))
    id: str | None = None

    def __post_init__(self) -> None:
        name = f"Budget {self.id!r}" if self.id else f"The budget of scope {self.scope!r}"
        problems: list[str] = []
        for attribute in ("limit", "spent"):
            try:
                object.__setattr__(self, attribute, amount(getattr(self, attribute), f"{name} has a {attribute} that"))
            except InvalidConfigurationError as error:
                problems.append(error.message)
        problems += [p for p in (_scope(self, name), _period(self, name), _zone(self, name), _rest(self, name)) if p]
        if problems:
            raise InvalidConfigurationError(problems[0], problems=tuple(problems))
        object.__setattr__(self, "thresholds", tuple(sorted(set(self.thresholds))))
        if self.id is None:
            soft = "/soft" if self.mode == "soft" else ""
            object.__setattr__(self, "id", f"{self.scope}/{self.period}{soft}")

    @property
    def name(self) -> str:
        """The id, made from scope, period and mode where none was given."""
        return cast(str, self.id)

    @property
    def kind(self) -> str:
        """The scope without its value: "tenant" of "tenant:acme"."""
        return self.scope.partition(":")[0]

    @property
    def subject(self) -> str:
        """The scope's value: "acme" of "tenant:acme"."""
        return self.scope.partition(":")[2]

    @property
    def each(self) -> bool:
        """Whether every subject gets a counter of its own: `tenant:*`, `tag:feature=*`."""
        return self.subject == "*" or (self.kind == "tag" and self.subject.endswith("=*"))

    @property
    def of_requests(self) -> bool:
        """Whether requests fall under it whatever key serves them."""
        return self.kind in REQUEST_SCOPES

    @property
    def limit_nano(self) -> int:
        return int(Decimal(self.limit) * 1_000_000_000)

    @property
    def spent_nano(self) -> int:
        return nano(self.spent)

    @property
    def rolling_seconds(self) -> float | None:
        """Length of a rolling window in seconds, None for a calendar period."""
        found = _ROLLING.match(self.period)
        return int(found[1]) * _UNIT_SECONDS[found[2]] if found else None


def covers(pattern: str, subject: str) -> bool:
    """Whether a scope's value, which may be a glob with `*`, means this subject."""
    if "*" not in pattern:
        return pattern == subject
    return pattern == "*" or fnmatchcase(subject, pattern.replace("[", "[[]").replace("?", "[?]"))


def _scope(budget: Budget, name: str) -> str:
    kind, colon, subject = str(budget.scope).partition(":")
    if kind == "global" and not colon:
        return ""
    if kind == "global" or kind not in REQUEST_SCOPES + CANDIDATE_SCOPES:
        known = ", ".join(f"{k}:" for k in (*CANDIDATE_SCOPES, *REQUEST_SCOPES[1:]))
        return f"{name} has the unknown scope {budget.scope!r}; use global or one of {known}."
    if not subject:
        return f"{name} names no {kind} in its scope; write {kind}:NAME, or {kind}:* for one counter each."
    tag, _, value = subject.partition("=")
    if kind == "tag" and (not tag or not value or "*" in tag):
        return f"{name} has the scope {budget.scope!r}; a tag is written tag:NAME=VALUE."
    if budget.spent and budget.each:
        return f"{name} has spent={budget.spent} for every {kind} alike; give spent to a budget of one {kind}."
    return ""


def _period(budget: Budget, name: str) -> str:
    if budget.period in PERIODS:
        return ""
    found = _ROLLING.match(str(budget.period))
    if found and int(found[1]) > 0:
        return ""
    return f"{name} has the unknown period {budget.period!r}; use {', '.join(PERIODS)} or 'rolling 24h'."


def _zone(budget: Budget, name: str) -> str:
    try:
        zone_of(budget.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError):
        return f"{name} has the unknown time zone {budget.timezone!r}; use a name such as Europe/Berlin or UTC."
    return ""


def _rest(budget: Budget, name: str) -> str:
    if budget.mode not in ("hard", "soft"):
        return f"{name} has the unknown mode {budget.mode!r}; use hard or soft."
    if any(not 0 < t <= 10 for t in budget.thresholds):
        return f"{name} has thresholds {list(budget.thresholds)}; each is a fraction of the limit, such as 0.8."
    if any(not isinstance(v, str) for pair in budget.downgrade.items() for v in pair):
        return f"{name} has a downgrade that is not a table of model names, such as {{gpt-4o: gpt-4o-mini}}."
    return ""


assert set(PERIODS) - {"total"} <= set(SECONDS), "every calendar period has a nominal length"
