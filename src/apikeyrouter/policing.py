"""Policies put in force, all at once, and tried on the traffic that was before they are.

A set of policies is compiled whole before it replaces the one in force, so that a mistake changes nothing and no
request meets half of a change. Expressions need the extra `policy`; tables of fields and values do not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from random import Random

from apikeyrouter.core.asking import asked_for, request_facts_of
from apikeyrouter.core.bearing import key_facts, pool_facts
from apikeyrouter.core.decision import Decision
from apikeyrouter.core.model import INPUT, OUTPUT
from apikeyrouter.core.pick import Chance, choose
from apikeyrouter.core.policy import Policy, Predicate, Rule, compiled
from apikeyrouter.core.rehearsal import Case, Choice, Impact, rehearse
from apikeyrouter.core.roster import Roster
from apikeyrouter.core.rulebook import Rulebook
from apikeyrouter.errors import InvalidConfigurationError, RoutingError
from apikeyrouter.router import Router


class Policing:
    """The rulebook of one router. `policies` are those in force, in the order they came."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.policies: tuple[Policy, ...] = ()

    def replace(self, policies: Iterable[Policy]) -> None:
        """Put exactly these in force. Raises InvalidConfigurationError with the problems of all of them."""
        book = self.prepare(policies)
        with self.router.lock:
            self.install(book)

    def prepare(self, policies: Iterable[Policy]) -> Rulebook:
        """Compile, changing nothing."""
        return Rulebook(_compiled(tuple(policies)))

    def install(self, book: Rulebook) -> None:
        """Put a compiled book in force; the caller has the lock."""
        self.policies = tuple(rule.policy for rule in book.rules)
        self.router.asking.rulebook = book

    def configure(self, policy: Policy, *, dry_run: bool = False) -> Impact:
        """Add a policy, or put it in place of the one of its id with the next version; tells what that changes."""
        now = self.router.now()
        known = next((p for p in self.policies if p.id == policy.id), None)
        created = now if known is None or known.created_at is None else known.created_at
        version = policy.version if known is None else max(policy.version, known.version + 1)
        policy = replace(policy, version=version, created_at=created, updated_at=now)
        others = tuple(p for p in self.policies if p.id != policy.id)
        after = self.prepare((*others, policy))
        impact = self.rehearse(self.router.asking.rulebook, after)
        if not dry_run:
            with self.router.lock:
                self.install(after)
        return impact

    def rehearse(self, before: Rulebook, after: Rulebook, decisions: Iterable[Decision] | None = None) -> Impact:
        """What `after` in the place of `before` would have changed about decisions, by default those in memory."""
        with self.router.lock:
            now = self.router.now()
            asked = self.router.decisions.values() if decisions is None else decisions
            cases = [self._case(d, now) for d in asked]
        return rehearse(before, after, cases)

    def _case(self, d: Decision, now: float) -> Case:
        """A decision as it would be asked again: its request, its candidates, their pools as they are now."""
        candidates = d.roster.candidates[:MOST_CANDIDATES]
        keys = [key_facts(c, d.cost if c is d.chosen else None) for c in candidates]
        pools = [pool_facts(c, now) for c in candidates]
        again = partial(self._choose, d)
        return Case(id=d.id, request=request_facts_of(d), keys=keys, pools=pools, now=d.at, choose=again)

    def _choose(self, d: Decision, book: Rulebook) -> Choice:
        """Who would serve a decision's request under `book`, by the state of now. Nothing is held."""
        tokens = {"input_tokens": d.need[INPUT], "max_output_tokens": d.need[OUTPUT]}
        request = replace(asked_for(d), **tokens)  # type: ignore[arg-type]  # both are whole numbers
        with self.router.lock:
            now = self.router.now()
            try:
                roster, ask, _ = self.router.asking.ask(request, None, None, now, rulebook=book, judged_at=d.at)
            except RoutingError:
                return REFUSED
            found = choose(roster, ask, now, _fixed(roster, d.id))
        if found.chosen is None:
            return REFUSED
        return Choice(found.key or "", found.model, _expected(found.cost, d))


REFUSED = Choice("", "", 0)
MOST_CANDIDATES = 64
"""Candidates of a decision that a rehearsal counts one by one."""


def _fixed(roster: Roster, seed: str) -> Chance:
    """Chance that leaves ties to the first, and draws the same of many for the same decision."""
    return _never if roster.small else Random(seed).random


def _never() -> float:
    return 1.0 - 2.0**-53


def _expected(held: int | None, d: Decision) -> int | None:
    """What is likely billed of what would be held: the share that this decision's bill had of its own hold."""
    if held is None or not d.cost or d.actual_cost is None:
        return held
    return held * d.actual_cost // d.cost


def _compiled(policies: tuple[Policy, ...]) -> list[Rule]:
    problems: list[str] = []
    rules: list[Rule] = []
    seen: set[str] = set()
    for policy in policies:
        if policy.id in seen:
            problems.append(f"Policy '{policy.id}' is there twice; give one of them another id.")
        seen.add(policy.id)
        try:
            rules.append(compiled(policy, _expression))
        except InvalidConfigurationError as error:
            problems += error.problems
    if problems:
        raise InvalidConfigurationError(problems[0], problems=tuple(problems))
    return rules


def _expression(source: str) -> Predicate:
    from apikeyrouter.cel import compile_expression  # the CEL library is for those who write expressions

    return compile_expression(source)
