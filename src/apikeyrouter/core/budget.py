"""Money that may still be spent: every budget a request falls under, held at once and committed after.

Checking a total before and adding to it after lets every request in flight pass the same check. Here a request takes
its worst case out of all its budgets before it is sent, so that spent + held never exceeds a hard limit while
actual <= held (O'Neil 1986, escrow). Who falls under which budget is decided here alone; a counter's arithmetic is
`escrow.Node`, a declaration `allowance.Budget`. What a request costs, and what to do without room, is not here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from apikeyrouter.core.allowance import Budget, covers
from apikeyrouter.core.escrow import HUGE, Crossing, Node, Saved
from apikeyrouter.core.model import Tags, dollars
from apikeyrouter.errors import InvalidConfigurationError

__all__ = ["HUGE", "Budget", "BudgetStatus", "BudgetTree", "Crossing", "Node", "Saved", "status_of"]

_ALL_THE_ROOM: Final[tuple[int, Node | None]] = (HUGE, None)
MAX_INSTANCES: Final = 10_000
"""Counters one `:*` budget opens; callers beyond share one, so that invented names buy no money."""
MAX_PATHS: Final = 20_000
MAX_NAME: Final = 256
SWEEP_S: Final = 60.0

Path = tuple[Node, ...]
Named = Sequence[tuple[str, str | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetStatus:
    """A counter as a person reads it, amounts in dollars, times in epoch seconds.

    `scope` is the instance ("tenant:acme" of "tenant:*"); `reset_at` None for a total, of a rolling window the time at
    which its oldest part is forgotten; `overrun` what went beyond holds; `exhausted_at` when the limit is reached if
    spending goes on as of late, None if it will not be before the reset; `last_period` what the period before spent.
    """

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
    thresholds: tuple[float, ...] = ()
    exhausted_at: float | None = None
    last_period: Decimal | None = None
    downgrade: Mapping[str, str] = field(default_factory=dict)


class BudgetTree:
    """All counters, found by what a request and a candidate are called. Not locked: its owner's one lock covers it."""

    __slots__ = ("_by_kind", "_instances", "_nodes", "_paths", "_sweep_at", "_tags", "budgets")

    def __init__(self, budgets: Iterable[Budget] = ()) -> None:
        self._nodes: dict[tuple[str, str], Node] = {}
        self._instances: dict[str, int] = {}
        self._sweep_at: dict[str, float] = {}
        self._paths: dict[object, Path] = {}
        self._index(tuple(budgets))

    def _index(self, budgets: tuple[Budget, ...]) -> None:
        names = [budget.name for budget in budgets]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidConfigurationError(f"Two budgets are called {repeated[0]!r}; give each an id of its own.")
        self.budgets = budgets
        self._by_kind: dict[str, list[Budget]] = {}
        for budget in budgets:
            self._by_kind.setdefault(budget.kind, []).append(budget)
        self._tags = tuple(sorted({b.subject.partition("=")[0] for b in self._by_kind.get("tag", ())}))
        self._paths.clear()

    def request_path(self, *, tenant: str | None, user: str | None, tags: Tags, route: str, now: float) -> Path:
        """The counters a request falls under whatever key serves it. Without a tenant it falls under no tenant's."""
        kinds = self._by_kind
        key = (
            tenant if "tenant" in kinds else None,
            user if "user" in kinds else None,
            route if "route" in kinds else None,
            tuple([tags.get(name) for name in self._tags]) if self._tags else (),
        )
        path = self._paths.get(key)
        if path is None:
            named = [("global", ""), ("tenant", tenant), ("user", user), ("route", route)]
            named += [("tag", f"{name}={value}") for name in self._tags if (value := tags.get(name)) is not None]
            path = self._remember(key, named, now)
        return path

    def candidate_path(self, *, provider: str, pools: tuple[str, ...], key: str, model: str, now: float) -> Path:
        """The counters a candidate adds: of its provider, pools, key and model, however the model is spelt."""
        cache_key = (provider, pools, key, model, None)
        path = self._paths.get(cache_key)
        if path is None:
            named: list[tuple[str, str | None]] = [("provider", provider), ("key", key), ("model", model.lower())]
            named += [("pool", pool) for pool in pools]
            path = self._remember(cache_key, named, now)
        return path

    def _remember(self, cache_key: object, named: Named, now: float) -> Path:
        found = [
            self._node(budget, kind, subject, now)
            for kind, subject in named
            if subject is not None
            for budget in self._by_kind.get(kind, ())
            if covers(budget.subject.lower() if kind == "model" else budget.subject, subject)
        ]
        if len(self._paths) >= MAX_PATHS:
            self._paths.clear()
        path = self._paths[cache_key] = tuple(found)
        return path

    def _node(self, budget: Budget, kind: str, subject: str, now: float) -> Node:
        scope = f"{kind}:{subject}" if budget.each else budget.scope
        node = self._nodes.get((budget.name, scope))
        if node is None:
            if budget.each and not self._room_for_one(budget, subject, now):
                scope = budget.scope
            node = self._nodes.setdefault((budget.name, scope), Node(budget, scope, now))
            self._instances[budget.name] = self._instances.get(budget.name, 0) + 1
        return node

    def _room_for_one(self, budget: Budget, subject: str, now: float) -> bool:
        """Whether a `:*` budget may open another counter; makes room by forgetting those with nothing on them."""
        if len(subject) > MAX_NAME:
            return False
        if self._instances.get(budget.name, 0) < MAX_INSTANCES:
            return True
        # Candidates keep their counters, so only counters found anew for each request can be forgotten.
        if now < self._sweep_at.get(budget.name, 0.0) or not budget.of_requests:
            return False
        self._sweep_at[budget.name] = now + SWEEP_S
        idle = [at for at, node in self._nodes.items() if at[0] == budget.name and _idle(node, now)]
        for at in idle:
            del self._nodes[at]
        self._instances[budget.name] -= len(idle)
        self._paths.clear()
        return bool(idle)

    @staticmethod
    def room(nodes: Path, now: float) -> tuple[int, Node | None]:
        """Least hard room in nano-dollars (negative after an overrun) and the counter that binds."""
        least, binding = HUGE, None
        for node in nodes:
            if now >= node.due:
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
            if now >= node.due:
                node.roll(now)
            node.held += amount
        return tuple([node.epoch for node in nodes])

    @staticmethod
    def commit(nodes: Path, epochs: tuple[int, ...], held: int, actual: int) -> tuple[Crossing, ...]:
        """Turn a hold into spend, in the period it was taken in; tells thresholds crossed and overruns."""
        crossings: tuple[Crossing, ...] = ()
        beyond = actual - held
        for node, epoch in zip(nodes, epochs, strict=True):
            if epoch != node.epoch:
                node.commit_past(epoch, held, actual)
                continue
            node.held -= held
            node.fresh += actual
            node.spent = spent = node.spent + actual
            if (spent >= node.mark or beyond > 0) and (crossing := node.meet(beyond)):
                crossings += (crossing,)
        return crossings

    @staticmethod
    def release(nodes: Path, epochs: tuple[int, ...], held: int) -> None:
        """Give a hold back: nothing was spent."""
        for node, epoch in zip(nodes, epochs, strict=True):
            if epoch == node.epoch:
                node.held -= held
            else:
                node.commit_past(epoch, held, 0)

    @staticmethod
    def downgrade(nodes: Path, model: str, now: float, cost: int = 0) -> tuple[str, Node] | None:
        """The model to use instead and the counter that asks for it.

        A soft budget asks at its limit, or when this request's `cost` would take it beyond; a hard one near its limit.
        """
        for node in nodes:
            if now >= node.due:
                node.roll(now)
            taken = node.spent + node.held
            if taken >= node.lowers_at or (not node.hard and taken + cost > node.limit):
                for pattern, other in node.budget.downgrade.items():
                    if other != model and covers(pattern, model):
                        return other, node
        return None

    def status(self, scope: str | None = None, now: float | None = None) -> tuple[BudgetStatus, ...]:
        """Every counter, or those of one scope (or budget id); with `now`, turned if due and with a forecast."""
        found = [n for n in self._nodes.values() if scope in (None, n.key, n.budget.scope, n.budget.name)]
        return tuple(_status(node, now) for node in found)

    def replace(self, budgets: Iterable[Budget], now: float) -> None:
        """Put other budgets in force. Counters of a budget that stays (by id and scope) keep what is spent and held.

        Paths found before keep their counters: those of a budget that went bind no longer, those of a new one are not
        in them. Raises InvalidConfigurationError, changing nothing, for two budgets of one id.
        """
        before, given = self.budgets, tuple(budgets)
        self._index(given)
        scopes = {budget.name: budget.scope for budget in before}
        kept = {budget.name: budget for budget in given if scopes.get(budget.name) == budget.scope}
        for at in [at for at in self._nodes if at[0] not in kept]:
            self._nodes.pop(at).retire()
            self._instances.pop(at[0], None)
        for (name, _), node in self._nodes.items():
            node.declare(kept[name], now)

    def save(self) -> tuple[Saved, ...]:
        """Every counter with something on it, to be stored."""
        return tuple(node.save() for node in self._nodes.values() if node.spent or node.held)

    def restore(self, states: Iterable[Saved], now: float) -> None:
        """Count on from stored counters; those of budgets that are gone, or of periods that are over, are ignored."""
        known = {budget.name: budget for budget in self.budgets}
        for saved in states:
            budget = known.get(saved.budget)
            kind, _, subject = saved.key.partition(":")
            if budget and kind == budget.kind and (covers(budget.subject, subject) or saved.key == budget.scope):
                self._node(budget, kind, subject, now).restore(saved, now)

    def start(self, now: float) -> None:
        """Open the counters of all budgets that have exactly one, so that they show before the first request."""
        for budget in self.budgets:
            if not budget.each:
                self._node(budget, budget.kind, budget.subject, now)


def status_of(nodes: Path) -> tuple[BudgetStatus, ...]:
    """Counters as they stand, for a person."""
    return tuple([_status(node, None) for node in nodes])


def _idle(node: Node, now: float) -> bool:
    node.roll(now)
    return not (node.spent or node.held or any(past.held > 0 for past in node.past))


def _status(node: Node, now: float | None) -> BudgetStatus:
    if now is not None:
        node.roll(now)
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
        thresholds=budget.thresholds,
        exhausted_at=None if now is None else node.exhausted_at(now),
        last_period=dollars(node.past[-1].spent) if node.past else None,
        downgrade=dict(budget.downgrade),
    )
