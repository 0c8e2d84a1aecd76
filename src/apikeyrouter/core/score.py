"""What "better" means: objectives as terms in [0, 1], where 0 is best, weighted and summed.

Terms are normalised against fixed references or against the dearest alternative, never left in raw units, so that
weights compare. A constraint is not a term: it removes a candidate. The capacity term is the pool's load (pool.py); it
is always present with a small weight, so that equals are ordered by room and not by chance alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from apikeyrouter.core.allowance import amount as dollars_of
from apikeyrouter.core.frozen import Frozen
from apikeyrouter.core.model import NO_NAMES, NO_TAGS, Tags, nano
from apikeyrouter.errors import InvalidConfigurationError

if TYPE_CHECKING:
    from apikeyrouter.core.terms import Term

TERMS: Final = ("cost", "reliability", "latency", "quality", "fairness", "capacity", "risk", "affinity")
STATIC: Final = ("cost", "reliability", "latency", "quality")
"""Terms that are equal for all keys of one provider, model, price and quality: computed once for each such group."""

TIE_BREAK: Final = 0.001
CAPACITY_SCALE: Final = 8.0
"""Makes the load comparable: a tenth of a window on a full pool scores about 0.5."""

NAMED: Final[Mapping[str, Mapping[str, float]]] = Frozen(
    {
        "default": {"reliability": 0.8, "capacity": 0.2},
        "reliability": {"reliability": 0.9, "capacity": 0.1},
        "cost": {"cost": 0.9, "reliability": 0.1},
        "latency": {"latency": 0.9, "reliability": 0.1},
        "fairness": {"fairness": 1.0},
        "quality": {"quality": 0.9, "reliability": 0.1},
        "capacity": {"capacity": 1.0},
        "risk": {"risk": 0.8, "capacity": 0.2},
        "affinity": {"affinity": 0.6, "reliability": 0.3, "capacity": 0.1},
    }
)
"""An objective given by name. Reliability stays in the others with a tenth: nobody wants the cheapest failure."""


_OWN: Final[dict[str, Term]] = {}
_OWN_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}$")


def objective(name: str) -> Callable[[Term], Term]:
    """Register a function as a term of that name, usable like the built-in ones, alone or with weights.

    It takes a `terms.Option` and returns 0.0 for the best to 1.0 for the worst; it is asked for each candidate, so it
    must be quick and must not wait. Registering a name again replaces its function for objectives made afterwards.
    """
    if not _OWN_NAME.match(name) or name in TERMS or name in NAMED or name in ("constraints", "order"):
        raise InvalidConfigurationError(
            f"An objective cannot be called '{name}'; choose another name, such as 'green'."
        )

    def register(term: Term) -> Term:
        _OWN[name] = term
        return term

    return register


def objectives() -> tuple[str, ...]:
    """Every name an objective can be given by."""
    return tuple(sorted({*NAMED, *_OWN}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """Conditions a candidate must meet. `max_cost` in nano-dollars, `max_latency` in seconds.

    `min_exhaustion` in seconds: keys whose quota is as likely as not to run out sooner, before its reset, are left out.
    """

    min_reliability: float = 0.0
    max_cost: int | None = None
    max_latency: float | None = None
    min_quality: float = 0.0
    min_exhaustion: float = 0.0
    capabilities: frozenset[str] = NO_NAMES
    tags: Tags = field(default_factory=lambda: NO_TAGS)

    @property
    def any(self) -> bool:
        return self is not NO_CONSTRAINTS and self != NO_CONSTRAINTS


NO_CONSTRAINTS: Final = Constraints()


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """Weights over the terms, and constraints. Build with `Objective.of("cost")` or `Objective.of({"cost": 0.6, ...})`.

    `order` ranks terms instead of weighing them: the first keeps the candidates within 0.05 of its best, the next
    chooses among these, and so on. `own` are registered terms; `keyed` tells whether any term depends on the key,
    `picky` whether a constraint does.
    """

    name: str = "default"
    weights: Mapping[str, float] = field(default_factory=lambda: NAMED["default"])
    constraints: Constraints = NO_CONSTRAINTS
    order: tuple[str, ...] = ()
    static: tuple[tuple[int, float], ...] = field(init=False)
    fairness: float = field(init=False)
    capacity: float = field(init=False)
    risk: float = field(init=False)
    affinity: float = field(init=False)
    own_names: tuple[tuple[str, Term], ...] = field(init=False)
    own: tuple[tuple[Term, float], ...] = field(init=False)
    keyed: bool = field(init=False)
    picky: bool = field(init=False)

    def __post_init__(self) -> None:
        weights = self._checked()
        at = {name: i for i, name in enumerate(STATIC)}
        object.__setattr__(self, "weights", Frozen(weights))
        object.__setattr__(self, "static", tuple((at[n], w) for n, w in weights.items() if n in at and w))
        object.__setattr__(self, "fairness", weights.get("fairness", 0.0))
        object.__setattr__(self, "capacity", weights.get("capacity", 0.0))
        object.__setattr__(self, "risk", weights.get("risk", 0.0))
        object.__setattr__(self, "affinity", weights.get("affinity", 0.0))
        object.__setattr__(self, "own_names", tuple((n, _OWN[n]) for n in weights if n not in TERMS))
        object.__setattr__(self, "own", tuple((_OWN[n], w) for n, w in weights.items() if n not in TERMS))
        object.__setattr__(self, "keyed", bool(self.fairness or self.risk or self.affinity or self.own))
        object.__setattr__(self, "picky", bool(self.constraints.min_exhaustion or self.constraints.tags))

    def _checked(self) -> dict[str, float]:
        weights = dict(self.weights)
        for rank, name in enumerate(self.order):
            weights[name] = 20.0**-rank
        for name, weight in weights.items():
            if name not in TERMS and name not in _OWN:
                known = ", ".join((*TERMS, *_OWN))
                raise InvalidConfigurationError(f"Objective '{name}' is unknown; use one of {known}.")
            if not 0 <= weight < float("inf"):
                raise InvalidConfigurationError(f"The weight of '{name}' is {weight}; it must be at least 0.")
        return weights

    @classmethod
    def of(cls, what: object) -> Objective:
        """From a name, a mapping of weights (with `constraints` and `order` inside), or an Objective."""
        if isinstance(what, Objective):
            return what
        if what is None:
            return DEFAULT
        if isinstance(what, str):
            return _named(what)
        if isinstance(what, Mapping):
            return _mapped(what)
        raise InvalidConfigurationError(f"An objective is a name or a mapping of weights, not {type(what).__name__}.")


def _named(name: str) -> Objective:
    if name in _OWN:
        return Objective(name=name, weights={name: 1.0})
    if name not in NAMED:
        raise InvalidConfigurationError(f"Objective '{name}' is unknown; use one of {', '.join(objectives())}.")
    return Objective(name=name, weights=NAMED[name])


def _mapped(what: Mapping[str, object]) -> Objective:
    rest = dict(what)
    constraints = _constraints(rest.pop("constraints", None))
    order = rest.pop("order", ())
    if not isinstance(order, list | tuple):
        raise InvalidConfigurationError("`order` of an objective is a list of term names, best first.")
    weights: dict[str, float] = {}
    for name, weight in rest.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise InvalidConfigurationError(f"The weight of '{name}' is {weight!r}; it must be a number.")
        weights[name] = float(weight)
    if not weights and not order:
        weights = dict(NAMED["default"])
    return Objective(name="custom", weights=weights, constraints=constraints, order=tuple(map(str, order)))


def _constraints(what: object) -> Constraints:
    if what is None:
        return NO_CONSTRAINTS
    if isinstance(what, Constraints):
        return what
    if not isinstance(what, Mapping):
        raise InvalidConfigurationError("`constraints` of an objective is a mapping, such as {max_cost: 0.05 USD}.")
    readers: dict[str, Callable[[object], object]] = {
        "min_reliability": _number,
        "max_cost": _money,
        "max_latency": _number,
        "min_quality": _number,
        "min_exhaustion": _duration,
        "capabilities": _names,
        "tags": _tags,
    }
    unknown = set(what) - set(readers)
    if unknown:
        raise InvalidConfigurationError(
            f"Constraint '{sorted(map(str, unknown))[0]}' is unknown; use one of {', '.join(readers)}."
        )
    found = {name: readers[name](value) for name, value in what.items()}
    return Constraints(**found)  # type: ignore[arg-type]  # each reader returns its field's type


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise InvalidConfigurationError(f"A constraint of {value!r} must be a number of at least 0.")
    return float(value)


def _duration(value: object) -> float:
    """Seconds, as a number or as text with a unit: "90 s", "15 min", "4 h", "2 d"."""
    if not isinstance(value, str):
        return _number(value)
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|h|d)\s*", value)
    if found is None:
        raise InvalidConfigurationError(f"A duration of '{value}' is not understood; write it as '4 h' or in seconds.")
    return float(found[1]) * {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}[found[2]]


def _money(value: object) -> int:
    if not isinstance(value, Decimal | str | int | float) or isinstance(value, bool):
        raise InvalidConfigurationError(f"max_cost is a {type(value).__name__}; write it as '0.05 USD'.")
    return nano(dollars_of(value, "max_cost"))


def _names(value: object) -> frozenset[str]:
    if isinstance(value, str) or not isinstance(value, list | tuple | set | frozenset):
        raise InvalidConfigurationError("`capabilities` is a list, such as [tools, streaming].")
    return frozenset(map(str, value))


def _tags(value: object) -> Tags:
    if not isinstance(value, Mapping):
        raise InvalidConfigurationError("`tags` is a mapping, such as {region: eu}.")
    return Frozen({str(k): str(v) for k, v in value.items()})


DEFAULT: Final = Objective()
"""Reliability first, room second (requirements: "reliability with capacity as tie-break")."""
