"""A request turned into what can be decided: who may serve it, what it needs, what it may cost, what is best for it.

Everything that does not depend on the candidate is settled here, once. Counts a caller gives are taken as they are;
estimates are held at their 90th percentile; an answer that nobody bounds at its 99th, and under a hard budget at the
configured default, or not at all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from apikeyrouter.core.affinity import Homes, mark_of
from apikeyrouter.core.budget import BudgetTree, Node
from apikeyrouter.core.decision import Decision, Lowered
from apikeyrouter.core.facts import budget_facts, request_facts
from apikeyrouter.core.model import INPUT, OUTPUT, Need, Request, nano
from apikeyrouter.core.price import Price
from apikeyrouter.core.question import Ask
from apikeyrouter.core.registry import Registry
from apikeyrouter.core.retry import Attempts
from apikeyrouter.core.roster import Candidate, Roster
from apikeyrouter.core.rulebook import NO_VERDICT, Rulebook, Verdict
from apikeyrouter.core.score import Objective
from apikeyrouter.core.tokens import Measure, TokenModel
from apikeyrouter.errors import BudgetExceededError

GENERATES: Final = frozenset({"chat", "completion", "responses", "messages"})
"""Operations whose answers have a length that must be held."""
STAY: Final = 0.3
"""Share of all weights that staying has for a request that names a session, where its objective says nothing of
affinity: more than room has by default (0.2), so that load alone moves no conversation.
"""


class Asking:
    """What every request is asked against. `objective`, `rulebook` and `default_max_output` may be replaced."""

    __slots__ = (
        "_stays",
        "budgets",
        "default_max_output",
        "homes",
        "lets_unpriced",
        "lowers",
        "objective",
        "objectives",
        "registry",
        "rulebook",
        "tokens",
    )

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
        self._stays = (objective, _with_affinity(objective))
        self.objectives: dict[str, Objective] = {}
        self.default_max_output = default_max_output
        self.rulebook = Rulebook()
        self.homes = Homes()
        self.lets_unpriced = False
        self.lowers = False
        self.budgets_changed()

    def budgets_changed(self) -> None:
        """Whether any budget in force may ask for cheaper models."""
        self.lowers = any(budget.downgrade for budget in self.budgets.budgets)

    def ask(
        self,
        request: Request,
        measure: Measure | None,
        attempts: Attempts | None,
        now: float,
        *,
        rulebook: Rulebook | None = None,
        judged_at: float | None = None,
    ) -> tuple[Roster, Ask, Lowered | None]:
        """Who may serve, the request as pick.choose takes it, and the model it was lowered from, if it was.

        A rehearsal asks another `rulebook` than the one in force, as of the time `judged_at`.
        """
        rulebook = self.rulebook if rulebook is None else rulebook
        roster = self.roster(request, now)
        nodes: tuple[Node, ...] = ()
        if self.budgets.budgets:
            nodes = self.budgets.request_path(
                tenant=request.tenant, user=request.user, tags=request.tags, route=request.model, now=now
            )
        verdict, lowered = NO_VERDICT, None
        if rulebook.rules:
            verdict = self._judge(rulebook, request, measure, nodes, roster, now if judged_at is None else judged_at)
        if self.lowers or verdict.split or verdict.downgrade:
            request, roster, lowered = self._lowered(request, measure, verdict, nodes, roster, now)
        need = self._need(request, measure, nodes, roster)
        ask = Ask(
            request,
            need,
            self._objective(request, verdict),
            nodes=nodes,
            attempts=attempts,
            costly=roster.costly,
            verdict=verdict,
        )
        if request.max_cost is not None or verdict.caps or ask.objective.constraints.max_cost is not None:
            ask.cap(None if request.max_cost is None else nano(request.max_cost))
        if measure is not None:
            _weigh(ask, measure, limited=ask.capped or _limited(nodes, roster))
        ask.lets_unpriced = self.lets_unpriced
        if ask.objective.affinity:
            ask.home = self.homes.find(mark_of(request, measure))
        return roster, ask, lowered

    def _objective(self, request: Request, verdict: Verdict) -> Objective:
        """The request's own, else what a policy says, else the configured one."""
        if request.objective is not None:
            found = self.objective_of(request.objective)
        else:
            found = self.objective if verdict.objective is None else verdict.objective
        return self._staying(found) if request.session and not (found.affinity or found.order) else found

    def _staying(self, objective: Objective) -> Objective:
        """The same for a request of a session, which stays where its beginning is cached."""
        last, staying = self._stays
        if last is not objective:
            staying = _with_affinity(objective)
            self._stays = objective, staying
        return staying

    def _judge(
        self,
        rulebook: Rulebook,
        request: Request,
        measure: Measure | None,
        nodes: tuple[Node, ...],
        roster: Roster,
        at: float,
    ) -> Verdict:
        need = self._need(request, measure, nodes, roster)
        facts = request_facts(request, input_tokens=need[INPUT], output_tokens=need[OUTPUT])
        return rulebook.judge(facts, at, budget_facts(nodes))

    def _lowered(
        self,
        request: Request,
        measure: Measure | None,
        verdict: Verdict,
        nodes: tuple[Node, ...],
        roster: Roster,
        now: float,
    ) -> tuple[Request, Roster, Lowered | None]:
        """The request for another model, where policies, and after them a budget at its limit, ask for one."""
        model, by = request.model, ""
        if verdict.split or verdict.downgrade:
            sticky = request.user or request.session or request.request_id or f"{now}"
            model, by = verdict.lower(model, sticky)
        cost = self._cost(request, measure, nodes, roster)
        if self.lowers:
            asking = (*nodes, *roster.lowering)
            found = BudgetTree.downgrade(asking, model, now, cost or 0)
            if found is not None:
                model, by = found[0], f"budget {found[1].key}"
        if model == request.model:
            return request, roster, None
        other = replace(request, model=model)
        return other, self.roster(other, now), Lowered(request.model, model, by, cost)

    def _cost(self, request: Request, measure: Measure | None, nodes: tuple[Node, ...], roster: Roster) -> int | None:
        """What the cheapest way to serve a request might cost."""
        need = self._need(request, measure, nodes, roster)
        prices = [c.deployment.price for c in roster.candidates]
        return min((p.hold(need[INPUT], need[OUTPUT]) for p in prices if p is not None), default=None)

    def roster(self, request: Request, now: float) -> Roster:
        r = request
        return self.registry.roster(r.model, r.provider, r.operation, r.needs, r.tenant, now, among=r.among)

    def price_unknown(self, how: str, assumed: Price | None) -> None:
        """What to do about models whose price nobody knows: refuse under hard limits, allow, or assume a price."""
        self.lets_unpriced = how == "allow"
        self.registry.assumed_price = assumed if how == "assume" else None

    def served(self, ask: Ask, measure: Measure | None, chosen: Candidate) -> None:
        """Remember where a prompt's beginning is cached from now on."""
        mark = mark_of(ask.request, measure)
        if mark is not None:
            self.homes.remember(mark, chosen.pools[-1].id)

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
            tokens = 0 if measure is None else self.tokens.hold(request.model, measure, request.operation)
        most = request.max_output_tokens
        if most is None and measure is not None:
            most = measure.max_output_tokens
        if most is None:
            answers = 1 if measure is None else measure.answers
            most = answers * self._unbounded(request, nodes, roster) if request.operation in GENERATES else 0
        return (1, tokens + most, tokens, most, 1, 0)

    def _unbounded(self, request: Request, nodes: tuple[Node, ...], roster: Roster) -> int:
        """Output of one answer to hold when nobody bounds it."""
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


def _weigh(ask: Ask, measure: Measure, *, limited: bool) -> None:
    """What a body tells about its price; under a hard limit money is held for the most its input can be."""
    ask.features, ask.service_tier = measure.features, measure.tier
    if limited and ask.request.input_tokens is None:
        ask.priced_tokens, ask.unseen = measure.most_tokens, measure.unseen


def _limited(nodes: tuple[Node, ...], roster: Roster) -> bool:
    """Whether a hard budget applies, so that money is held for a true bound of the input and not for an estimate."""
    return roster.hard_node is not None or (bool(nodes) and any(n.hard for n in nodes))


def asked_for(d: Decision) -> Request:
    """A recorded decision's request as the caller made it, before another model took the place of the one named."""
    return d.request if d.lowered is None else replace(d.request, model=d.lowered.asked)


def request_facts_of(d: Decision) -> dict[str, object]:
    """What a recorded decision's request was, as policies see it."""
    return request_facts(asked_for(d), input_tokens=d.need[INPUT], output_tokens=d.need[OUTPUT])


def _with_affinity(objective: Objective) -> Objective:
    weights = objective.weights
    return replace(objective, weights={**weights, "affinity": STAY * sum(weights.values())})
