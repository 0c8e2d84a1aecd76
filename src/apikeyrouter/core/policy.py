"""Rules as somebody declared them: when they apply, and what they then require, forbid, prefer or set.

A policy is data. Its conditions come as expressions, compiled by a function that is passed in, or as tables of fields
and values, which need no compiler. Everything a declaration can get wrong is found when it is loaded, all of it at
once, and said with the policy's id, the field, and the line and column inside an expression. How several policies
together become one verdict is decided in `rulebook`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Final, Protocol, cast
from zoneinfo import ZoneInfoNotFoundError

from apikeyrouter.core.allowance import amount, covers
from apikeyrouter.core.expression import ExpressionError
from apikeyrouter.core.facts import FIELDS, OPEN, Facts, Get, getter
from apikeyrouter.core.frozen import Frozen
from apikeyrouter.core.model import nano
from apikeyrouter.core.period import zone_of
from apikeyrouter.core.score import Objective
from apikeyrouter.errors import InvalidConfigurationError, MissingDependencyError

SCOPES: Final = ("default", "global", "provider", "model", "route", "tenant", "user", "request")
"""From the weakest to the strongest; all but default, global and request name their subject: tenant:acme."""
TYPES: Final = ("routing", "cost", "key_selection", "failure_handling")
FAILOVERS: Final = ("never", "same_provider", "any")
CONDITIONS: Final = ("when", "require", "allow", "deny", "prefer")
EFFECTS: Final = ("require", "allow", "deny", "prefer", "max_cost", "objective", "downgrade", "split", "actions")
EARLY: Final = ("objective", "downgrade", "split", "actions")
"""Effects that are settled before a key is looked for, so that no condition of theirs can ask about keys."""
MAX_ATTEMPTS: Final = 20
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
NOTHING: Final[Mapping[str, object]] = Frozen({})


class PredicateError(Exception):
    """A condition that could not be answered; the sentence names it."""


class Predicate(Protocol):
    """A compiled condition. `reads` are the fields it asks for ("key.tags"), `roots` the first words of these."""

    @property
    def source(self) -> str: ...
    @property
    def roots(self) -> frozenset[str]: ...
    @property
    def reads(self) -> frozenset[str]: ...

    def __call__(self, facts: Facts, /) -> bool: ...


Compile = Callable[[str], Predicate]
Condition = str | Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """What a failure_handling policy sets; None leaves it as it is. `cooldown_s` in seconds."""

    max_attempts: int | None = None
    failover: str | None = None
    cooldown_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A rule as declared.

    `when` decides whether it applies; `require`, `allow`, `deny` and `prefer` ask about each candidate key; the other
    effects are values: `max_cost` dollars, `objective` as in the configuration, `downgrade` and `split` tables of
    models, `actions` for failures. `weight` in [0, 1] is how much `prefer` counts. `timezone` is the zone of `time`.
    Within one scope the higher `priority` wins. Times are epoch seconds.
    """

    id: str
    name: str = ""
    type: str = ""
    scope: str = "global"
    when: Condition | None = None
    require: Condition | None = None
    allow: Condition | None = None
    deny: Condition | None = None
    prefer: Condition | None = None
    weight: float = 0.5
    max_cost: Decimal | str | None = None
    objective: object = None
    downgrade: Mapping[str, str] = field(default_factory=lambda: Frozen({}))
    split: Mapping[str, float] = field(default_factory=lambda: Frozen({}))
    actions: Mapping[str, object] = field(default_factory=lambda: NOTHING)
    priority: int = 0
    timezone: str = "UTC"
    enabled: bool = True
    version: int = 1
    created_at: float | None = None
    updated_at: float | None = None

    @classmethod
    def of(cls, name: str, rule: Mapping[str, object]) -> Policy:
        """A policy of a configuration's table; raises InvalidConfigurationError for a field there is not."""
        known = sorted(each.name for each in fields(cls) if each.name != "id")
        unknown = [
            f"Policy {name!r} has an unknown field {word!r}; it takes {', '.join(known)}."
            for word in rule
            if word not in known
        ]
        if unknown:
            raise InvalidConfigurationError(unknown[0], problems=tuple(unknown))
        return cls(**{"id": name, **rule})  # type: ignore[arg-type]  # checked by `compiled`

    @property
    def kind(self) -> str:
        return self.scope.partition(":")[0]

    @property
    def subject(self) -> str:
        return self.scope.partition(":")[2]

    @property
    def rank(self) -> tuple[int, int, str]:
        """Sorts from the weakest to the strongest."""
        return SCOPES.index(self.kind), self.priority, self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A policy ready to be asked: conditions compiled, values read.

    `late` when `when` and scope can only be decided for a candidate; `restricts` when it takes something away;
    `of_keys` are the conditions that are asked for each candidate.
    """

    policy: Policy
    when: Predicate | None = None
    require: Predicate | None = None
    allow: Predicate | None = None
    deny: Predicate | None = None
    prefer: Predicate | None = None
    max_cost: int | None = None
    objective: Objective | None = None
    actions: Actions | None = None
    late: bool = field(init=False)
    restricts: bool = field(init=False)
    of_keys: tuple[Predicate, ...] = field(init=False)

    def __post_init__(self) -> None:
        late = self.policy.kind in ("provider", "model") or bool(self.when and self.when.roots & {"key", "pool"})
        asked = (self.require, self.allow, self.deny, self.prefer, self.when if late else None)
        takes = (self.require, self.allow, self.deny, self.max_cost)
        object.__setattr__(self, "late", late)
        object.__setattr__(self, "restricts", any(each is not None for each in takes))
        object.__setattr__(self, "of_keys", tuple(each for each in asked if each is not None))


def compiled(policy: Policy, compile_expression: Compile | None = None) -> Rule:
    """The rule of a policy; raises InvalidConfigurationError with every problem it has.

    Without a compiler only tables are taken as conditions.
    """
    problems: list[str] = []
    conditions = {name: _condition(policy, name, compile_expression, problems) for name in CONDITIONS}
    _check(policy, problems)
    values: dict[str, object] = {}
    for name, read in (("max_cost", _max_cost), ("objective", _objective), ("actions", _actions)):
        try:
            values[name] = read(policy)
        except InvalidConfigurationError as error:
            problems += error.problems
    if problems:
        raise InvalidConfigurationError(problems[0], problems=tuple(problems))
    return Rule(policy=policy, **conditions, **values)  # type: ignore[arg-type]  # read above, each by its type


def _condition(policy: Policy, name: str, compiler: Compile | None, problems: list[str]) -> Predicate | None:
    given = getattr(policy, name)
    what = f"Policy {policy.id!r}, {name}"
    if given is None:
        return None
    if isinstance(given, Mapping):
        return _table(given, "request" if name == "when" else "key", what, problems)
    if not isinstance(given, str):
        problems.append(f"{what}: it is a {type(given).__name__}; write an expression or a table of fields and values.")
        return None
    if compiler is None:
        raise MissingDependencyError(
            "Policy expressions need the CEL library, which is not installed; run: pip install 'apikeyrouter[policy]'"
        )
    try:
        predicate = compiler(given)
    except ExpressionError as error:
        problems.append(f"{what}, {error}.")
        return None
    early = [effect for effect in EARLY if getattr(policy, effect)]
    if name == "when" and early and predicate.roots & {"key", "pool"}:
        problems.append(f"{what}: it asks about a key, but {early[0]} is set before a key is looked for.")
    return predicate


class _Table:
    """A condition written as fields and values: all fields must have one of their values, where `*` is a wildcard."""

    __slots__ = ("_wanted", "reads", "roots", "source")

    def __init__(self, wanted: list[tuple[tuple[str, ...], tuple[object, ...]]], source: str) -> None:
        self._wanted: list[tuple[Get, tuple[object, ...]]] = [(getter(path), values) for path, values in wanted]
        self.source = source
        self.roots = frozenset(path[0] for path, _ in wanted)
        self.reads = frozenset(".".join(path[:2]) for path, _ in wanted)

    def __call__(self, facts: Facts) -> bool:
        return all(_is_one_of(get(facts), values) for get, values in self._wanted)


def _is_one_of(value: object, wanted: tuple[object, ...]) -> bool:
    if isinstance(value, str):
        return any(isinstance(each, str) and covers(each, value) for each in wanted)
    if isinstance(value, list | tuple | frozenset | set):
        return any(each in value for each in wanted)
    return value in wanted


def _table(given: Mapping[str, object], root: str, what: str, problems: list[str]) -> Predicate | None:
    wanted = []
    if not given:
        problems.append(f"{what}: the table is empty; give it a field and a value, such as {{tags.region: eu}}.")
    for name, value in given.items():
        path = tuple(str(name).split("."))
        path = path if path[0] in FIELDS else (root, *path)
        values = tuple(value) if isinstance(value, list | tuple) else (value,)
        known = len(path) > 1 and path[1] in FIELDS[path[0]]
        if not known or (len(path) > 2 and ".".join(path[:2]) not in OPEN):
            problems.append(f"{what}: there is no {name!r}; {root} has {', '.join(FIELDS[root])}.")
        elif not all(isinstance(each, str | int | float | bool) for each in values):
            problems.append(f"{what}: {name!r} must be a value or a list of values.")
        else:
            wanted.append((path, values))
    return _Table(wanted, str(dict(given)))


def _check(policy: Policy, problems: list[str]) -> None:
    """Everything about a policy that is not a condition."""
    who = f"Policy {policy.id!r}"
    named = policy.kind not in ("default", "global", "request")
    if policy.kind not in SCOPES or named != bool(policy.subject):
        example = "tenant:acme" if policy.kind not in SCOPES else f"{policy.kind}:NAME" if named else policy.kind
        problems.append(f"{who} has the unknown scope {policy.scope!r}; use {', '.join(SCOPES)}, such as {example}.")
    if policy.type and policy.type not in TYPES:
        problems.append(f"{who} has the unknown type {policy.type!r}; use {', '.join(TYPES)}.")
    if not any(getattr(policy, effect) not in (None, {}, NOTHING) for effect in EFFECTS):
        problems.append(f"{who} does nothing; give it one of {', '.join(EFFECTS)}.")
    if not _ID.match(policy.id):
        problems.append(f"{who} has an id that is no name; use letters, digits, dots and dashes, 64 at most.")
    if not _number(policy.weight) or not 0 <= policy.weight <= 1:
        problems.append(f"{who} has the weight {policy.weight!r}; it is a number from 0 to 1.")
    if type(policy.priority) is not int:
        problems.append(f"{who} has the priority {policy.priority!r}; it is a whole number.")
    try:
        zone_of(policy.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError):
        problems.append(f"{who} has the unknown time zone {policy.timezone!r}; use a name such as Europe/Berlin.")
    _check_models(policy, problems)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value  # NaN is no number


def _check_models(policy: Policy, problems: list[str]) -> None:
    who = f"Policy {policy.id!r}"
    lower: object = policy.downgrade
    if not isinstance(lower, Mapping) or not all(isinstance(name, str) for pair in lower.items() for name in pair):
        problems.append(f"{who} has a downgrade that is no table of models, such as {{gpt-4o: gpt-4o-mini}}.")
    shares: object = policy.split
    good = isinstance(shares, Mapping) and all(_number(share) and 0 <= share < 1e9 for share in shares.values())
    if not good or (policy.split and not sum(policy.split.values())):
        problems.append(f"{who} has a split that is no table of models and shares, such as {{a: 50, b: 50}}.")
    sets = [name for name in EARLY[:3] if getattr(policy, name)]
    if policy.kind in ("provider", "model") and sets:
        problems.append(f"{who} sets {sets[0]} for one {policy.kind}, but that is set before one is chosen; widen it.")


def _max_cost(policy: Policy) -> int | None:
    if policy.max_cost is None:
        return None
    return nano(amount(policy.max_cost, f"Policy {policy.id!r} has a max_cost that"))


def _objective(policy: Policy) -> Objective | None:
    try:
        return None if policy.objective is None else Objective.of(policy.objective)
    except InvalidConfigurationError as error:
        raise InvalidConfigurationError(f"Policy {policy.id!r}, objective: {error.message}") from None


def _actions(policy: Policy) -> Actions | None:
    if not policy.actions:
        return None
    who, given = f"Policy {policy.id!r}", cast(object, policy.actions)
    if not isinstance(given, Mapping) or set(given) - {"max_attempts", "failover", "cooldown"}:
        raise InvalidConfigurationError(f"{who} has actions {given!r}; they are max_attempts, failover and cooldown.")
    attempts, failover, cooldown = given.get("max_attempts"), given.get("failover"), given.get("cooldown")
    problems = []
    if attempts is not None and (type(attempts) is not int or not 1 <= attempts <= MAX_ATTEMPTS):
        problems.append(f"{who} has max_attempts {attempts!r}; it is a whole number from 1 to {MAX_ATTEMPTS}.")
    if failover is not None and failover not in FAILOVERS:
        problems.append(f"{who} has the failover {failover!r}; use {', '.join(FAILOVERS)}.")
    if cooldown is not None and (not _number(cooldown) or cooldown < 0):
        problems.append(f"{who} has the cooldown {cooldown!r}; it is a number of seconds, 0 or more.")
    if problems:
        raise InvalidConfigurationError(problems[0], problems=tuple(problems))
    return Actions(max_attempts=attempts, failover=failover, cooldown_s=cooldown)
