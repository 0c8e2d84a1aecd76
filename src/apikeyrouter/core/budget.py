"""Money that may still be spent: every budget a request falls under, held at once and committed after.

Checking a total before and adding to it after lets every request in flight pass the same check. Here a request takes
its worst case out of all its budgets before it is sent, so that spent + held never exceeds a hard limit while
actual <= held (O'Neil 1986, escrow). Who falls under which budget is decided here alone; a counter's arithmetic is
`escrow.Node`, a declaration `allowance.Budget`. What a request costs, and what to do without room, is not here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Final

from apikeyrouter.core.allowance import CANDIDATE_SCOPES, Budget
from apikeyrouter.core.escrow import Crossing, Node
from apikeyrouter.core.model import Tags, dollars

__all__ = ["HUGE", "Budget", "BudgetStatus", "BudgetTree", "Crossing", "Node"]

HUGE: Final = 1 << 62
"""Room where no hard budget applies: more nano-dollars than there is money."""
_ALL_THE_ROOM: Final[tuple[int, Node | None]] = (HUGE, None)
MAX_INSTANCES: Final = 10_000
"""Counters one `:*` budget opens; callers beyond share one, so that invented names buy no money."""
MAX_PATHS: Final = 20_000

Path = tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetStatus:
    """A counter as a person reads it: dollars, epoch seconds, and `reset_at` None for a total."""

    id: str
    scope: str
    period: str
    timezone: str
    mode: str
    limit: Decimal
    spent: Decimal
    held: Decimal
    remaining: Decimal
    overrun: Decimal
    reset_at: float | None


class BudgetTree:
    """All counters, found by what a request and a candidate are called."""

    __slots__ = ("_by_kind", "_nodes", "_paths", "_tags", "budgets")

    def __init__(self, budgets: Iterable[Budget] = ()) -> None:
        self._nodes: dict[tuple[str, str], Node] = {}
        self._paths: dict[object, Path] = {}
        self._index(tuple(budgets))

    def _index(self, budgets: tuple[Budget, ...]) -> None:
        self.budgets = budgets
        self._by_kind: dict[str, list[Budget]] = {}
        for budget in budgets:
            self._by_kind.setdefault(budget.kind, []).append(budget)
        self._tags = tuple(sorted({b.subject.partition("=")[0] for b in self._by_kind.get("tag", ())}))
        self._paths.clear()

    def request_path(self, *, tenant: str | None, user: str | None, tags: Tags, route: str, now: float) -> Path:
        """The counters a request falls under whatever key serves it."""
        labels = tuple([tags.get(name) for name in self._tags]) if self._tags else ()
        key = (tenant, user, labels, route)
        path = self._paths.get(key)
        if path is None:
            named = [("global", ""), ("tenant", tenant), ("user", user), ("route", route)]
            named += [("tag", f"{n}={v}") for n, v in zip(self._tags, labels, strict=True) if v is not None]
            path = self._remember(key, named, now)
        return path

    def candidate_path(self, *, provider: str, pools: tuple[str, ...], key: str, model: str, now: float) -> Path:
        """The counters a candidate adds: of its provider, pools, key and model."""
        cache_key = (provider, pools, key, model, None)
        path = self._paths.get(cache_key)
        if path is None:
            named: list[tuple[str, str | None]] = [("provider", provider), ("key", key), ("model", model)]
            named += [("pool", pool) for pool in pools]
            path = self._remember(cache_key, named, now)
        return path

    def _remember(self, cache_key: object, named: Sequence[tuple[str, str | None]], now: float) -> Path:
        if len(self._paths) >= MAX_PATHS:
            self._paths.clear()
        found = [
            self._node(budget, kind, subject, now)
            for kind, subject in named
            if subject is not None
            for budget in self._by_kind.get(kind, ())
            if fnmatchcase(subject, budget.subject)
        ]
        path = self._paths[cache_key] = tuple(found)
        return path

    def _node(self, budget: Budget, kind: str, subject: str, now: float) -> Node:
        each = budget.subject == "*" or budget.subject.endswith("=*")
        scope = f"{kind}:{subject}" if each else budget.scope
        node = self._nodes.get((budget.name, scope))
        if node is None:
            if each and len(self._nodes) >= MAX_INSTANCES:
                scope = budget.scope
            node = self._nodes.setdefault((budget.name, scope), Node(budget, scope, now))
        return node

    @staticmethod
    def room(nodes: Path, now: float) -> tuple[int, Node | None]:
        """Least hard room in nano-dollars (negative after an overrun) and the counter that binds."""
        least, binding = HUGE, None
        for node in nodes:
            if now >= node.turns_at:
                node.roll(now)
            if node.hard:
                room = node.limit - node.spent - node.held
                if room < least:
                    least, binding = room, node
        return (least, binding) if binding is not None else _ALL_THE_ROOM

    @staticmethod
    def hold(nodes: Path, amount: int, now: float) -> tuple[int, ...]:
        """Hold `amount` in every counter; the caller has checked `room`. Returns the epochs to commit to."""
        for node in nodes:
            if now >= node.turns_at:
                node.roll(now)
            node.held += amount
        return tuple([node.epoch for node in nodes])

    @staticmethod
    def commit(nodes: Path, epochs: tuple[int, ...], held: int, actual: int) -> tuple[Crossing, ...]:
        """Turn a hold into spend, in the period it was taken in; tells what was crossed."""
        crossings = [c for node, epoch in zip(nodes, epochs, strict=True) if (c := node.commit(epoch, held, actual))]
        return tuple(crossings)

    @staticmethod
    def release(nodes: Path, epochs: tuple[int, ...], held: int) -> None:
        """Give a hold back: nothing was spent."""
        for node, epoch in zip(nodes, epochs, strict=True):
            node.commit(epoch, held, 0)

    def status(self, scope: str | None = None) -> tuple[BudgetStatus, ...]:
        """Every counter, or those of one scope."""
        return tuple(_status(n) for n in self._nodes.values() if scope in (None, n.key, n.budget.scope))

    def replace(self, budgets: Iterable[Budget], now: float) -> None:
        """Put other budgets in force; counters of a budget that stays (by id) keep what is spent and held."""
        self._index(tuple(budgets))
        kept = {budget.name: budget for budget in self.budgets}
        self._nodes = {key: node for key, node in self._nodes.items() if key[0] in kept}
        for (name, _), node in self._nodes.items():
            node.declare(kept[name], now)


def _status(node: Node) -> BudgetStatus:
    budget, remaining = node.budget, node.limit - node.spent - node.held
    return BudgetStatus(
        id=budget.name,
        scope=node.key,
        period=budget.period,
        timezone=budget.timezone,
        mode=budget.mode,
        limit=dollars(node.limit),
        spent=dollars(node.spent),
        held=dollars(node.held),
        remaining=dollars(max(0, remaining)),
        overrun=dollars(node.overrun),
        reset_at=None if budget.period == "total" else node.turns_at,
    )


assert set(CANDIDATE_SCOPES) == {"provider", "pool", "key", "model"}, "candidate_path names every candidate scope"
