"""A request turned into what can be decided: who may serve it, what it needs, what it may cost, what is best for it.

Everything that does not depend on the candidate is settled here, once. Counts a caller gives are taken as they are;
estimates are held at their 90th percentile; an answer that nobody bounds at its 99th, and under a hard budget at the
configured default, or not at all.
"""

from __future__ import annotations

from typing import Final

from apikeyrouter.core.budget import BudgetTree, Node
from apikeyrouter.core.model import Need, Request, nano
from apikeyrouter.core.pick import Ask
from apikeyrouter.core.registry import Registry
from apikeyrouter.core.retry import Attempts
from apikeyrouter.core.roster import Roster
from apikeyrouter.core.score import Objective
from apikeyrouter.core.tokens import Measure, TokenModel
from apikeyrouter.errors import BudgetExceededError

GENERATES: Final = frozenset({"chat", "completion", "responses", "messages"})
"""Operations whose answers have a length that must be held."""


class Asking:
    """What every request is asked against. `objective` and `default_max_output` may be replaced while running."""

    __slots__ = ("budgets", "default_max_output", "objective", "objectives", "registry", "tokens")

    def __init__(
        self,
        registry: Registry,
        budgets: BudgetTree,
        tokens: TokenModel,
        objective: Objective,
        default_max_output: int | None,
    ) -> None:
        self.registry = registry
        self.budgets = budgets
        self.tokens = tokens
        self.objective = objective
        self.objectives: dict[str, Objective] = {}
        self.default_max_output = default_max_output

    def ask(
        self, request: Request, measure: Measure | None, attempts: Attempts | None, now: float
    ) -> tuple[Roster, Ask]:
        """Who may serve, and the request as pick.choose takes it."""
        roster = self.roster(request, now)
        nodes: tuple[Node, ...] = ()
        if self.budgets.budgets:
            nodes = self.budgets.request_path(
                tenant=request.tenant, user=request.user, tags=request.tags, route=request.model, now=now
            )
        return roster, Ask(
            request,
            self._need(request, measure, nodes, roster),
            self.objective if request.objective is None else self.objective_of(request.objective),
            nodes=nodes,
            max_cost=None if request.max_cost is None else nano(request.max_cost),
            attempts=attempts,
            costly=roster.costly,
        )

    def roster(self, request: Request, now: float) -> Roster:
        r = request
        return self.registry.roster(r.model, r.provider, r.operation, r.needs, r.tenant, now, among=r.among)

    def objective_of(self, what: object) -> Objective:
        """A request's own objective; names are compiled once."""
        if not isinstance(what, str):
            return Objective.of(what)
        found = self.objectives.get(what)
        if found is None:
            found = self.objectives[what] = Objective.of(what)
        return found

    def _need(self, request: Request, measure: Measure | None, nodes: tuple[Node, ...], roster: Roster) -> Need:
        """What to hold of each dimension."""
        tokens = request.input_tokens
        if tokens is None:
            tokens = 0 if measure is None else self.tokens.estimate(request.model, measure, request.operation)[1]
        most = request.max_output_tokens
        if most is None and measure is not None:
            most = measure.max_output_tokens
        if most is None:
            most = self._unbounded(request, nodes, roster) if request.operation in GENERATES else 0
        return (1, tokens + most, tokens, most, 1, 0)

    def _unbounded(self, request: Request, nodes: tuple[Node, ...], roster: Roster) -> int:
        """Output to hold when nobody bounds it."""
        hard = next((n for n in nodes if n.hard), None) or roster.hard_node
        if hard is None or not roster.priced:
            return self.tokens.output(request.model, request.operation, None)[2]
        if self.default_max_output is not None:
            return self.default_max_output
        raise BudgetExceededError(
            f"A request for '{request.model}' without max_tokens cannot be held under the hard budget {hard.key}: "
            f"set max_tokens, or default_max_output in the configuration.",
            details={"budget": hard.key},
        )
