"""Policies put in force, all at once, and tried on the traffic that was before they are.

A set of policies is compiled whole before it replaces the one in force, so that a mistake changes nothing and no
request meets half of a change. Expressions need the extra `policy`; tables of fields and values do not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from apikeyrouter.core.asking import request_facts_of
from apikeyrouter.core.bearing import key_facts, pool_facts
from apikeyrouter.core.decision import Decision
from apikeyrouter.core.policy import Policy, Predicate, Rule, compiled
from apikeyrouter.core.rehearsal import Case, Impact, rehearse
from apikeyrouter.core.rulebook import Rulebook
from apikeyrouter.errors import InvalidConfigurationError
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
        impact = rehearse(self.router.asking.rulebook, after, self._cases())
        if not dry_run:
            with self.router.lock:
                self.install(after)
        return impact

    def _cases(self) -> list[Case]:
        with self.router.lock:
            now = self.router.now()
            return [_case(d, now) for d in self.router.decisions.values()]


def _case(d: Decision, now: float) -> Case:
    """A decision as it would be asked again: its request, its candidates, their pools as they are now."""
    candidates = d.roster.candidates[:64]
    keys = [key_facts(c, d.cost if c is d.chosen else None) for c in candidates]
    pools = [pool_facts(c, now) for c in candidates]
    return Case(id=d.id, request=request_facts_of(d), keys=keys, pools=pools, now=d.at)


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
