"""A request as the decision takes it: everything that does not depend on who might serve it, settled once.

`asking` fills it in, `pick` reads it for every candidate, so it is flat; what is rare stands in the class until a
request has it. Nothing here decides.
"""

from __future__ import annotations

from apikeyrouter.core.budget import HUGE, Node
from apikeyrouter.core.model import COST, Need, Request
from apikeyrouter.core.retry import Attempts
from apikeyrouter.core.rulebook import NO_VERDICT, Verdict
from apikeyrouter.core.score import Objective


class Ask:
    """A request with everything known that does not depend on the candidate.

    `need` has COST 0; the price of a stratum fills it in. `max_cost` (nano-dollars, set by `capped_by`) and `room`
    bound the hold; `billed` is what earlier attempts may have cost of it. `priced_tokens` are the input tokens money is
    held for: under a hard limit the most there can be, not an estimate; `unseen` that there may be as many more as the
    model takes. `features` of the body (None: unknown) and `service_tier` tell which rates can apply.
    """

    features: frozenset[str] | None = None
    max_cost: int | None = None
    capped_by = ""
    capped = False
    unseen = False
    service_tier = ""
    home: str | None = None
    lets_unpriced = False
    room: int = HUGE
    room_node: Node | None = None

    def __init__(
        self,
        request: Request,
        need: Need,
        objective: Objective,
        *,
        nodes: tuple[Node, ...] = (),
        attempts: Attempts | None = None,
        costly: bool = False,
        verdict: Verdict = NO_VERDICT,
    ) -> None:
        self.request = request
        self.need = need
        self.objective = objective
        self.priced_tokens = need[2]
        self.output_tokens = need[3]
        self.nodes = nodes
        self.attempts = attempts
        self.billed = 0 if attempts is None else attempts.billed
        self.costly = costly
        self.verdict = verdict
        self.picky = bool(attempts or objective.picky or verdict.per_key)

    def cap(self, own: int | None) -> None:
        """Bound the whole request's cost: by its `own` max_cost or the policies', whichever is less.

        Called where anything bounds it, be it the objective's constraint or a policy about some keys alone.
        """
        verdict = self.verdict
        self.max_cost = own
        if verdict.max_cost is not None and (own is None or verdict.max_cost < own):
            self.max_cost, self.capped_by = verdict.max_cost, verdict.capped_by
        self.capped = True


def with_cost(need: Need, cost: int) -> Need:
    """The need with its price filled in, for pools that count money."""
    return (*need[:COST], cost)
