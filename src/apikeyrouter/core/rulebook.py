"""Many policies, one verdict: which apply to a request, and what they say together.

Policies come from different people (an operator, a provider's owner, a tenant), so how they combine must not depend on
who wrote last. Restrictions only add up: every `require` must hold, no `deny` may, the least `max_cost` counts. Choices
are overridden: the strongest scope that has an `allow`, an objective, a split or an action decides. Preferences are
added. A condition that cannot be answered restricts rather than opens, and is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from apikeyrouter.core.allowance import covers
from apikeyrouter.core.facts import ALIKE, Facts, time_facts
from apikeyrouter.core.frozen import Frozen
from apikeyrouter.core.policy import Actions, Predicate, PredicateError, Rule
from apikeyrouter.core.score import Objective

Values = Mapping[str, object]
_NOTHING: Final[Values] = Frozen({})
MEMORY: Final = 512
"""Sets of rules whose merging is remembered."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a candidate may not serve: the policy, its version, which of its words, and the condition or number."""

    policy: str
    version: int
    word: str
    detail: str


class _Merged:
    """What a set of rules says together, before anybody asks about a candidate. Made once for each set."""

    __slots__ = (
        "actions", "applied", "asked", "capped_by", "caps", "downgrade", "lowered_by", "max_cost", "objective",
        "per_key", "prefers", "split", "split_all", "split_by",
    )  # fmt: skip

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        """`rules` from the weakest to the strongest."""
        self.applied = tuple((rule.policy.id, rule.policy.version, rule.policy.scope) for rule in rules)
        self.asked = tuple(rule for rule in rules if rule.of_keys or (rule.late and rule.max_cost is not None))
        self.prefers = any(rule.prefer for rule in self.asked)
        self.per_key = any(_tells_keys_apart(each) for rule in self.asked for each in rule.of_keys)
        self.caps = any(rule.max_cost is not None for rule in rules)
        self.max_cost: int | None = None
        self.capped_by = ""
        self.objective: Objective | None = None
        self.split: Mapping[str, float] = {}
        self.split_by, self.split_all = "", False
        self.downgrade: dict[str, str] = {}
        self.lowered_by: dict[str, str] = {}
        self.actions = Actions()
        for rule in rules:
            self._settle(rule)

    def _settle(self, rule: Rule) -> None:
        """Let a stronger rule override what weaker ones chose."""
        policy = rule.policy
        if rule.max_cost is not None and not rule.late and (self.max_cost is None or rule.max_cost < self.max_cost):
            self.max_cost, self.capped_by = rule.max_cost, f"policy {policy.id} v{policy.version}"
        self.objective = rule.objective or self.objective
        if policy.split:
            self.split, self.split_by = policy.split, policy.id
            self.split_all = rule.when is not None or policy.kind == "route"
        if policy.downgrade:
            weaker = {model: other for model, other in self.downgrade.items() if model not in policy.downgrade}
            self.downgrade = {**policy.downgrade, **weaker}
            self.lowered_by |= dict.fromkeys(policy.downgrade, policy.id)
        if rule.actions:
            self.actions = _over(self.actions, rule.actions)


class Verdict:
    """What the policies say of one request.

    `applied` are (id, version, scope) of the policies in force for it; `max_cost` nano-dollars and `capped_by` the
    policy that sets it; `caps` whether any policy bounds the cost, be it of some keys; `objective`, `split`,
    `downgrade` and `actions` are settled. Candidates are asked about with `refusal` and `preference`; `asks` is False
    when there is nothing to ask, `prefers` when no key is preferred, `per_key` True when keys that are alike (see
    `facts.ALIKE`) may differ. `notes` are sentences about conditions that could not be answered.
    """

    __slots__ = (
        "_early", "_merged", "actions", "applied", "asks", "capped_by", "caps", "downgrade", "max_cost", "notes",
        "objective", "per_key", "prefers", "split",
    )  # fmt: skip

    def __init__(self, merged: _Merged, early: Mapping[str, Facts], notes: list[str]) -> None:
        """`early` are the facts of the request by zone."""
        self._merged, self._early, self.notes = merged, early, notes
        self.applied, self.asks, self.prefers = merged.applied, bool(merged.asked), merged.prefers
        self.per_key, self.max_cost, self.objective = merged.per_key, merged.max_cost, merged.objective
        self.split, self.downgrade, self.actions = merged.split, merged.downgrade, merged.actions
        self.caps, self.capped_by = merged.caps, merged.capped_by

    def model(self, asked: str, sticky: str) -> str:
        """The model to use for the one asked for, see `lower`."""
        return self.lower(asked, sticky)[0]

    def lower(self, asked: str, sticky: str) -> tuple[str, str]:
        """The model to use for the one asked for and the policies that say so: drawn by a split (the same for the
        same `sticky`), then downgraded.

        A split without `when` or route divides only requests for one of its own models.
        """
        merged, by = self._merged, []
        if merged.split and (merged.split_all or asked in merged.split):
            asked = _drawn(merged.split, f"{merged.split_by}:{sticky}")
            by.append(merged.split_by)
        for pattern, other in merged.downgrade.items():
            if covers(pattern, asked):
                by.append(merged.lowered_by[pattern])
                asked = other
                break
        return asked, "policy " + " and ".join(by) if by else ""

    def refusal(self, key: Values, pool: Values = _NOTHING, cost: int | None = None) -> Refusal | None:
        """Why a candidate may not serve, or None. `cost` is what the request would hold there, in nano-dollars."""
        if not self.asks:
            return None
        facts = self._facts(key, pool)
        allowing: list[Rule] = []
        for rule in self._merged.asked:
            if rule.late and not self._covers(rule, facts, key):
                continue
            if refused := self._refused(rule, facts, cost):
                return refused
            if rule.allow:
                allowing.append(rule)
        return self._not_allowed(allowing, facts) if allowing else None

    def _facts(self, key: Values, pool: Values) -> dict[str, Facts]:
        return {zone: {**early, "key": key, "pool": pool} for zone, early in self._early.items()}

    def _refused(self, rule: Rule, facts: Mapping[str, Facts], cost: int | None) -> Refusal | None:
        policy = rule.policy
        if rule.require and not self._answer(rule, rule.require, facts, failed=False):
            return Refusal(policy.id, policy.version, "require", rule.require.source)
        if rule.deny and self._answer(rule, rule.deny, facts, failed=True):
            return Refusal(policy.id, policy.version, "deny", rule.deny.source)
        if rule.late and rule.max_cost is not None and cost is not None and cost > rule.max_cost:
            return Refusal(policy.id, policy.version, "max_cost", f"{cost / 1e9:.6f} of {rule.max_cost / 1e9:.6f} USD")
        return None

    def _not_allowed(self, allowing: list[Rule], facts: Mapping[str, Facts]) -> Refusal | None:
        """The strongest scope with an `allow` decides; within it one that holds is enough."""
        strongest = allowing[-1].policy
        deciding = [rule for rule in allowing if rule.policy.kind == strongest.kind]
        conditions = [(rule, rule.allow) for rule in deciding if rule.allow]
        if any(self._answer(rule, condition, facts, failed=False) for rule, condition in conditions):
            return None
        return Refusal(strongest.id, strongest.version, "allow", conditions[-1][1].source)

    def preference(self, key: Values, pool: Values = _NOTHING) -> float:
        """How much a candidate is preferred, in [0, 1]: the weights of the policies whose `prefer` holds, added."""
        if not self.prefers:
            return 0.0
        facts, total = self._facts(key, pool), 0.0
        for rule in self._merged.asked:
            if rule.prefer is None or (rule.late and not self._covers(rule, facts, key)):
                continue
            if self._answer(rule, rule.prefer, facts, failed=False):
                total += rule.policy.weight
        return min(1.0, total)

    def _covers(self, rule: Rule, facts: Mapping[str, Facts], key: Values) -> bool:
        """Whether a rule that waited for the candidate applies to it."""
        policy = rule.policy
        if policy.kind in ("provider", "model") and not covers(policy.subject, str(key.get(policy.kind, ""))):
            return False
        return rule.when is None or self._answer(rule, rule.when, facts, failed=rule.restricts)

    def _answer(self, rule: Rule, condition: Predicate, facts: Mapping[str, Facts], *, failed: bool) -> bool:
        try:
            return condition(facts[rule.policy.timezone])
        except PredicateError as error:
            _note(self.notes, rule, error)
            return failed

    def __repr__(self) -> str:
        return f"<Verdict of {', '.join(name for name, _, _ in self.applied) or 'no policy'}>"


NO_VERDICT: Final = Verdict(_Merged(()), {}, [])
"""Nothing applies: all keys may serve, nothing is set."""


class Rulebook:
    """The policies in force, sorted once. Empty, it costs a request nothing.

    `reads` are the fields any of them asks for ("key.tags", "budget.used"): what is not in it need not be filled in.
    """

    __slots__ = ("_merged", "reads", "rules")

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules = tuple(sorted((rule for rule in rules if rule.policy.enabled), key=lambda rule: rule.policy.rank))
        self._merged: dict[tuple[int, ...], tuple[tuple[Rule, ...], _Merged]] = {}
        conditions = [each for rule in self.rules for each in (rule.when, *rule.of_keys) if each]
        self.reads = frozenset(field for condition in conditions for field in condition.reads)

    def judge(self, request: Values, now: float, budget: Values = _NOTHING, own: Iterable[Rule] = ()) -> Verdict:
        """The verdict on a request; `own` are rules the request itself brings, which are the strongest."""
        brought = tuple(own)
        if not self.rules and not brought:
            return NO_VERDICT
        early: dict[str, Facts] = {}
        notes: list[str] = []
        applying = []
        for rule in (*self.rules, *brought):
            zone = rule.policy.timezone
            if zone not in early:
                moment = time_facts(now, zone)
                early[zone] = {"request": request, "budget": budget, "time": moment, "key": _NOTHING, "pool": _NOTHING}
            if _meant(rule, request) and _applies(rule, early[zone], notes):
                applying.append(rule)
        return Verdict(self._merge(tuple(applying)), early, notes) if applying else NO_VERDICT

    def _merge(self, rules: tuple[Rule, ...]) -> _Merged:
        at = tuple([id(rule) for rule in rules])
        known = self._merged.get(at)
        if known is None:
            if len(self._merged) >= MEMORY:
                self._merged.clear()
            # The rules are kept with it, so that their ids are not given to others.
            known = self._merged[at] = (rules, _Merged(rules))
        return known[1]

    def __len__(self) -> int:
        return len(self.rules)


def _meant(rule: Rule, request: Values) -> bool:
    """Whether a rule's scope is this request's; provider and model are known with the candidate."""
    policy = rule.policy
    if policy.kind in ("tenant", "user", "route"):
        subject = str(request.get(policy.kind, ""))
        return bool(subject) and covers(policy.subject, subject)
    return True


def _applies(rule: Rule, facts: Facts, notes: list[str]) -> bool:
    if rule.when is None or rule.late:
        return True
    try:
        return rule.when(facts)
    except PredicateError as error:
        _note(notes, rule, error)
        return rule.restricts


def _note(notes: list[str], rule: Rule, error: PredicateError) -> None:
    sentence = f"Policy {rule.policy.id!r}: {error}."
    if sentence not in notes:
        notes.append(sentence)


def _tells_keys_apart(condition: Predicate) -> bool:
    asked = {field for field in condition.reads if field.startswith(("key.", "pool."))}
    return not asked <= ALIKE


def _over(weaker: Actions, stronger: Actions) -> Actions:
    return Actions(
        max_attempts=weaker.max_attempts if stronger.max_attempts is None else stronger.max_attempts,
        failover=stronger.failover or weaker.failover,
        cooldown_s=weaker.cooldown_s if stronger.cooldown_s is None else stronger.cooldown_s,
    )


def _drawn(split: Mapping[str, float], sticky: str) -> str:
    """The model whose share of the whole a fixed number of `sticky` falls into."""
    number = int.from_bytes(blake2b(sticky.encode("utf-8", "surrogatepass"), digest_size=8).digest())
    point = number / 2**64 * sum(split.values())
    for model, share in split.items():
        point -= share
        if point < 0:
            return model
    return max(split, key=lambda model: split[model])
