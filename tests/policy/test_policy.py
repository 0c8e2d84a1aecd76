"""Policies declared, merged and asked: mistakes as tables, precedence as examples, restriction as a law."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.core.facts import budget_facts, request_facts, time_facts
from apikeyrouter.core.model import Request
from apikeyrouter.core.policy import Actions, Policy, PredicateError, Rule, compiled
from apikeyrouter.core.rehearsal import Case, Impact, rehearse
from apikeyrouter.core.rulebook import NO_VERDICT, Refusal, Rulebook, Verdict
from apikeyrouter.errors import InvalidConfigurationError, MissingDependencyError

MONDAY_NOON = 1_795_435_200.0  # 2026-11-23T12:00:00Z


class Asked:
    """A condition that a test answers by hand: a stand-in for a compiled expression."""

    def __init__(self, source: str) -> None:
        self.source = source
        root, _, _ = source.partition(".")
        self.roots = frozenset({root})
        self.reads = frozenset({".".join(source.split()[0].split(".")[:2])})

    def __call__(self, facts: Mapping[str, Mapping[str, object]]) -> bool:
        if "broken" in self.source:
            raise PredicateError(f"{self.source} cannot be evaluated")
        path, value = self.source.split(" == ")
        root, *names = path.split(".")
        found: object = facts[root]
        for name in names:
            found = found.get(name, "") if isinstance(found, Mapping) else ""
        return str(found) == value


def rule(name: str, /, **fields: object) -> Rule:
    return compiled(Policy.of(name, fields), Asked)


def judge(*rules: Rule, now: float = MONDAY_NOON, tags: Mapping[str, str] | None = None, **request: object) -> Verdict:
    asked = Request(**{"model": "gpt-4o", "tenant": "acme", "user": "ada", "tags": tags or {}, **request})  # type: ignore[arg-type]
    return Rulebook(rules).judge(request_facts(asked), now)


def key(name: str = "k", **fields: object) -> dict[str, object]:
    return {"id": name, "provider": "maker", "model": "gpt-4o", "tier": 1, "tags": {}, **fields}


class TestDeclaring:
    def test_everything_a_policy_may_say(self) -> None:
        made = rule(
            "full",
            name="All of it",
            type="routing",
            scope="tenant:acme",
            when={"tags.region": ["eu", "ch"]},
            require={"tags.region": "eu"},
            allow={"provider": "maker"},
            deny={"id": "key-old*"},
            prefer={"tier": [1, 2]},
            weight=0.25,
            max_cost="0.05 USD",
            objective={"cost": 0.6, "reliability": 0.4},
            downgrade={"gpt-4o": "gpt-4o-mini"},
            split={"a": 50, "b": 50},
            actions={"max_attempts": 2, "failover": "same_provider", "cooldown": 30},
            priority=5,
            timezone="Europe/Berlin",
            version=3,
        )
        assert made.max_cost == 50_000_000
        assert made.actions == Actions(max_attempts=2, failover="same_provider", cooldown_s=30)
        assert made.objective is not None

    @pytest.mark.parametrize(
        ("fields", "says"),
        [
            ({"denied": "x"}, "unknown field 'denied'"),
            ({}, "does nothing"),
            ({"scope": "team:x", "deny": {"tier": 1}}, "unknown scope 'team:x'"),
            ({"scope": "tenant", "deny": {"tier": 1}}, "tenant:NAME"),
            ({"scope": "global:x", "deny": {"tier": 1}}, "unknown scope"),
            ({"type": "magic", "deny": {"tier": 1}}, "unknown type 'magic'"),
            ({"deny": {}}, "table is empty"),
            ({"deny": {"tear": 1}}, "no 'tear'; key has id, provider"),
            ({"deny": {"tier.x": 1}}, "no 'tier.x'"),
            ({"deny": {"tier": {"a": 1}}}, "a value or a list"),
            ({"deny": 5}, "deny: it is a int"),
            ({"when": {"modle": "x"}, "deny": {"tier": 1}}, "no 'modle'; request has"),
            ({"max_cost": "5 EUR"}, "in EUR"),
            ({"max_cost": -1}, "is -1"),
            ({"objective": "cheapness"}, "Policy 'p', objective: "),
            ({"objective": {"cost": "x"}}, "Policy 'p', objective: "),
            ({"downgrade": {"a": 5}}, "downgrade"),
            ({"downgrade": ["a"]}, "downgrade"),
            ({"split": {"a": -1}}, "split"),
            ({"split": {"a": 0}}, "split"),
            ({"split": {"a": float("nan")}}, "split"),
            ({"split": {"a": True}}, "split"),
            ({"actions": {"retries": 5}}, "actions"),
            ({"actions": [1]}, "actions"),
            ({"actions": {"max_attempts": 0}}, "max_attempts 0"),
            ({"actions": {"max_attempts": 99}}, "max_attempts 99"),
            ({"actions": {"failover": "maybe"}}, "failover 'maybe'"),
            ({"actions": {"cooldown": -1}}, "cooldown -1"),
            ({"weight": 2, "prefer": {"tier": 1}}, "weight 2"),
            ({"weight": "x", "prefer": {"tier": 1}}, "weight 'x'"),
            ({"priority": "high", "deny": {"tier": 1}}, "priority 'high'"),
            ({"timezone": "Mars", "deny": {"tier": 1}}, "time zone 'Mars'"),
            ({"scope": "provider:x", "objective": "cost"}, "sets objective for one provider"),
            ({"when": "key.tier == 1", "split": {"a": 1}}, "asks about a key, but split is set before"),
        ],
    )
    def test_mistakes(self, fields: dict[str, object], says: str) -> None:
        with pytest.raises(InvalidConfigurationError) as raised:
            rule("p", **fields)
        assert any(says in problem for problem in raised.value.problems), raised.value.problems
        assert all(problem.startswith("Policy 'p'") and problem.endswith(".") for problem in raised.value.problems)

    def test_every_mistake_at_once(self) -> None:
        with pytest.raises(InvalidConfigurationError) as raised:
            rule("p", scope="x", type="y", weight=7, timezone="Mars", deny={"a": 1, "b": 2}, max_cost="x")
        assert len(raised.value.problems) == 7

    @pytest.mark.parametrize("name", ["", "a b", "x" * 65, "../x", "-a"])
    def test_ids_are_names(self, name: str) -> None:
        with pytest.raises(InvalidConfigurationError, match="id that is no name"):
            rule(name, deny={"tier": 1})

    def test_expressions_need_a_compiler_and_tables_do_not(self) -> None:
        assert compiled(Policy(id="p", deny={"tier": 1})).deny is not None
        with pytest.raises(MissingDependencyError, match=r"pip install 'apikeyrouter\[policy\]'"):
            compiled(Policy(id="p", deny="key.tier == 1"))


class TestTables:
    @pytest.mark.parametrize(
        ("table", "facts", "holds"),
        [
            ({"tier": 1}, {"tier": 1}, True),
            ({"tier": [1, 2]}, {"tier": 3}, False),
            ({"tags.region": "eu"}, {"tags": {"region": "eu"}}, True),
            ({"tags.region": "eu"}, {"tags": {}}, False),
            ({"tags.region": ""}, {"tags": {}}, True),
            ({"tags.region": "eu-*"}, {"tags": {"region": "eu-west"}}, True),
            ({"id": ["a*", "b"]}, {"id": "abc"}, True),
            ({"pools": "p1"}, {"pools": ("p1", "p2")}, True),
            ({"pools": ["p3", "p4"]}, {"pools": ("p1", "p2")}, False),
            ({"key.tier": 1, "tags.a": "b"}, {"tier": 1, "tags": {"a": "c"}}, False),
            ({"metadata.owner.level": 3}, {"metadata": {"owner": {"level": 3}}}, True),
            ({"metadata.owner.level": 3}, {"metadata": {"owner": 3}}, False),
            ({"metadata.owner.level": 3}, {}, False),
            ({"request.tenant": "acme"}, {}, True),
        ],
    )
    def test_fields_and_values(self, table: dict[str, object], facts: dict[str, object], holds: bool) -> None:
        verdict = judge(rule("p", require=table))
        assert (verdict.refusal(facts) is None) is holds

    def test_when_asks_about_the_request(self) -> None:
        only_eu = rule("p", when={"tags.region": "eu"}, require={"tags.region": "eu"})
        assert judge(only_eu, tags={"region": "eu"}).refusal(key()) == Refusal(
            "p", 1, "require", "{'tags.region': 'eu'}"
        )
        assert judge(only_eu) is NO_VERDICT
        assert judge(only_eu).refusal(key()) is None


class TestScopes:
    @pytest.mark.parametrize(
        ("scope", "request_fields", "in_force"),
        [
            ("default", {}, True),
            ("global", {}, True),
            ("tenant:acme", {}, True),
            ("tenant:ac*", {}, True),
            ("tenant:other", {}, False),
            ("tenant:*", {"tenant": None}, False),
            ("user:ada", {}, True),
            ("user:bob", {}, False),
            ("route:gpt-4o", {}, True),
            ("route:fast", {}, False),
        ],
    )
    def test_of_requests(self, scope: str, request_fields: dict[str, object], in_force: bool) -> None:
        verdict = judge(rule("p", scope=scope, max_cost=1), **request_fields)
        assert [name for name, _, _ in verdict.applied] == (["p"] if in_force else [])

    @pytest.mark.parametrize(("scope", "refused"), [("provider:maker", True), ("provider:x", False),
                                                    ("model:gpt-4*", True), ("model:o3", False)])  # fmt: skip
    def test_of_candidates(self, scope: str, refused: bool) -> None:
        verdict = judge(rule("p", scope=scope, deny={"tier": 1}))
        assert (verdict.refusal(key()) is not None) is refused

    def test_a_cost_cap_of_a_provider_counts_for_its_keys_only(self) -> None:
        verdict = judge(rule("p", scope="provider:maker", max_cost="0.01"))
        assert verdict.max_cost is None
        assert verdict.refusal(key(), cost=10_000_000) is None
        assert verdict.refusal(key(), cost=10_000_001) == Refusal("p", 1, "max_cost", "0.010000 of 0.010000 USD")
        assert verdict.refusal(key(provider="other"), cost=10**9) is None
        assert verdict.refusal(key(), cost=None) is None

    def test_disabled_policies_are_not_there(self) -> None:
        assert judge(rule("p", deny={"tier": 1}, enabled=False)) is NO_VERDICT

    def test_an_empty_rulebook_costs_nothing(self) -> None:
        assert judge() is NO_VERDICT
        assert NO_VERDICT.refusal(key()) is None
        assert NO_VERDICT.preference(key()) == 0.0
        assert NO_VERDICT.model("m", "u") == "m"

    def test_time_is_of_the_policys_zone(self) -> None:
        at_noon = {"when": "time.hour == 12", "max_cost": 1}
        book = [rule("utc", **at_noon), rule("berlin", timezone="Europe/Berlin", **at_noon)]
        assert [name for name, _, _ in judge(*book).applied] == ["utc"]
        assert [name for name, _, _ in judge(*book, now=MONDAY_NOON - 3600).applied] == ["berlin"]


class TestMerging:
    def test_the_stronger_scope_overrides_what_is_chosen(self) -> None:
        levels = ["default", "global", "route:gpt-4o", "tenant:acme", "user:ada", "request"]
        rules = [rule(f"p{at}", scope=scope, objective={"cost": at + 1, "latency": 1}, split={f"m{at}": 1, "gpt-4o": 0},
                      actions={"max_attempts": at + 1}) for at, scope in enumerate(levels)]  # fmt: skip
        for upto in range(1, len(rules) + 1):
            shuffled = rules[:upto]
            Random(upto).shuffle(shuffled)
            verdict = judge(*shuffled)
            assert verdict.objective == rules[upto - 1].objective
            assert verdict.actions.max_attempts == upto
            assert verdict.model("gpt-4o", "u") == f"m{upto - 1}"

    def test_within_a_scope_the_higher_priority_wins_then_the_later_id(self) -> None:
        low, high = rule("z", objective="cost", priority=1), rule("a", objective="latency", priority=2)
        assert judge(high, low).objective == high.objective
        first, second = rule("a", objective="cost"), rule("b", objective="latency")
        assert judge(second, first).objective == second.objective

    def test_what_a_request_brings_is_strongest(self) -> None:
        book = Rulebook([rule("t", scope="tenant:acme", objective="cost")])
        own = [rule("mine", objective="latency")]
        verdict = book.judge(request_facts(Request(model="m", tenant="acme")), MONDAY_NOON, own=own)
        assert verdict.objective == own[0].objective
        assert book.judge({}, MONDAY_NOON, own=[]) is NO_VERDICT

    def test_actions_are_merged_field_by_field(self) -> None:
        verdict = judge(
            rule("a", actions={"max_attempts": 5, "failover": "any", "cooldown": 10}),
            rule("b", scope="tenant:acme", actions={"failover": "never"}),
            rule("c", scope="user:ada", actions={"cooldown": 0}),
        )
        assert verdict.actions == Actions(max_attempts=5, failover="never", cooldown_s=0)

    def test_the_least_cost_cap_counts_whoever_sets_it(self) -> None:
        verdict = judge(rule("a", max_cost="0.02"), rule("b", scope="tenant:acme", max_cost="0.05"))
        assert verdict.max_cost == 20_000_000

    def test_requirements_add_up_and_one_denial_is_enough(self) -> None:
        verdict = judge(
            rule("a", require={"tags.region": "eu"}),
            rule("b", scope="tenant:acme", require={"tags.paid": "yes"}),
            rule("c", scope="default", deny={"id": "old*"}),
        )
        good = {"region": "eu", "paid": "yes"}
        assert verdict.refusal(key(tags=good)) is None
        assert verdict.refusal(key(tags={"region": "eu"})).policy == "b"  # type: ignore[union-attr]
        assert verdict.refusal(key(tags={"paid": "yes"})).policy == "a"  # type: ignore[union-attr]
        assert verdict.refusal(key("old-1", tags=good)) == Refusal("c", 1, "deny", "{'id': 'old*'}")

    def test_the_strongest_scope_that_allows_decides_and_one_of_it_is_enough(self) -> None:
        everywhere = rule("g", allow={"provider": "maker"})
        verdict = judge(
            everywhere,
            rule("t1", scope="tenant:acme", allow={"id": "a"}),
            rule("t2", scope="tenant:ac*", allow={"id": "b"}),
        )
        assert [verdict.refusal(key(name)) is None for name in "abc"] == [True, True, False]
        assert verdict.refusal(key("c")).policy == "t2"  # type: ignore[union-attr]
        assert judge(everywhere).refusal(key("c")) is None
        assert judge(everywhere).refusal(key("c", provider="x")) == Refusal("g", 1, "allow", "{'provider': 'maker'}")

    def test_no_allow_overrides_a_denial(self) -> None:
        verdict = judge(rule("g", scope="default", deny={"id": "a"}), rule("t", scope="request", allow={"id": "a"}))
        assert verdict.refusal(key("a")).policy == "g"  # type: ignore[union-attr]

    def test_preferences_are_added_up_to_one(self) -> None:
        verdict = judge(
            rule("a", prefer={"tier": 1}, weight=0.3),
            rule("b", prefer={"provider": "maker"}, weight=0.4),
            rule("c", prefer={"id": "k"}, weight=0.9),
        )
        assert verdict.preference(key("x", tier=2, provider="o")) == 0.0
        assert verdict.preference(key("x", provider="o")) == pytest.approx(0.3)
        assert verdict.preference(key("x")) == pytest.approx(0.7)
        assert verdict.preference(key()) == 1.0
        assert verdict.prefers
        assert not judge(rule("a", deny={"tier": 9})).prefers

    def test_a_rule_that_reads_what_keys_share_is_asked_once_for_all(self) -> None:
        assert not judge(rule("a", require={"tags.region": "eu"}, deny={"provider": "x", "tier": 3})).per_key
        assert judge(rule("a", require={"id": "x"})).per_key
        assert judge(rule("a", prefer="pool.state == abundant")).per_key
        assert not judge(rule("a", scope="provider:maker", when={"tags.x": "y"}, deny={"tier": 1})).per_key

    def test_the_verdict_names_the_policies_with_their_versions(self) -> None:
        verdict = judge(rule("a", deny={"tier": 9}, version=4), rule("b", scope="tenant:acme", max_cost=1))
        assert verdict.applied == (("a", 4, "global"), ("b", 1, "tenant:acme"))
        assert "a, b" in repr(verdict)

    def test_what_is_read_is_known_before(self) -> None:
        book = Rulebook(
            [
                rule("a", when={"budget.limited": True}, deny={"tags.x": "y"}),
                rule("b", prefer={"pool.state": "abundant"}),
            ]
        )
        assert book.reads == {"budget.limited", "key.tags", "pool.state"}
        assert len(book) == 2


class TestModels:
    def test_a_split_keeps_its_shares_and_its_users(self) -> None:
        verdict = judge(rule("ab", when={"model": "gpt-4o"}, split={"a": 3, "b": 1}))
        drawn = Counter(verdict.model("gpt-4o", f"user-{at}") for at in range(4000))
        assert abs(drawn["a"] / 4000 - 0.75) < 0.03
        assert {verdict.model("gpt-4o", "ada") for _ in range(50)} == {verdict.model("gpt-4o", "ada")}

    def test_two_splits_draw_differently(self) -> None:
        one, two = (judge(rule(name, scope="route:gpt-4o", split={"a": 1, "b": 1})) for name in ("one", "two"))
        same = sum(one.model("m", f"u{at}") == two.model("m", f"u{at}") for at in range(1000))
        assert 400 < same < 600

    @pytest.mark.parametrize(
        ("fields", "asked", "drawn"),
        [
            ({}, "a", {"a", "b"}),
            ({}, "embedder", {"embedder"}),
            ({"when": {"operation": "chat"}}, "other", {"a", "b"}),
            ({"scope": "route:gpt-4o"}, "other", {"a", "b"}),
        ],
    )
    def test_a_split_leaves_other_models_alone(self, fields: dict[str, object], asked: str, drawn: set[str]) -> None:
        verdict = judge(rule("ab", split={"a": 1, "b": 1}, **fields))
        assert {verdict.model(asked, f"u{at}") for at in range(50)} == drawn

    def test_a_share_of_nothing_is_never_drawn(self) -> None:
        verdict = judge(rule("ab", split={"a": 0, "b": 1, "c": 0}))
        assert {verdict.model("a", f"u{at}") for at in range(200)} == {"b"}

    def test_downgrades_of_the_stronger_scope_come_first(self) -> None:
        verdict = judge(
            rule("g", downgrade={"gpt-4*": "small", "o3": "o3-mini"}),
            rule("t", scope="tenant:acme", downgrade={"gpt-4o": "gpt-4o-mini"}),
        )
        assert [verdict.model(name, "u") for name in ("gpt-4o", "gpt-4.1", "o3", "other")] == [
            "gpt-4o-mini", "small", "o3-mini", "other",
        ]  # fmt: skip


class TestFailing:
    """A condition that cannot be answered must not open what it was to close."""

    @pytest.mark.parametrize(
        ("word", "refused"), [("require", True), ("deny", True), ("allow", True), ("prefer", False)]
    )
    def test_conditions_about_keys(self, word: str, refused: bool) -> None:
        verdict = judge(rule("p", **{word: "key.broken"}))
        assert (verdict.refusal(key()) is not None) is refused
        assert verdict.preference(key()) == 0.0
        assert verdict.notes == ["Policy 'p': key.broken cannot be evaluated."]

    @pytest.mark.parametrize(
        ("fields", "applies"),
        [
            ({"deny": {"tier": 1}}, True),
            ({"max_cost": 1}, True),
            ({"objective": "cost"}, False),
            ({"prefer": {"tier": 1}}, False),
        ],
    )
    def test_when(self, fields: dict[str, object], applies: bool) -> None:
        verdict = judge(rule("p", when="request.broken", **fields), rule("q", max_cost=1))
        assert ("p" in [name for name, _, _ in verdict.applied]) is applies
        assert len(verdict.notes) == 1

    @pytest.mark.parametrize(("fields", "refused"), [({"deny": {"tier": 1}}, True), ({"prefer": {"tier": 1}}, False)])
    def test_when_about_a_key(self, fields: dict[str, object], refused: bool) -> None:
        verdict = judge(rule("p", when="key.broken", **fields))
        assert (verdict.refusal(key()) is not None) is refused
        assert verdict.preference(key()) == 0.0


tables = st.dictionaries(
    st.sampled_from(["tier", "provider", "tags.region"]),
    st.sampled_from([1, 2, "maker", "other", "eu", "us"]),
    min_size=1,
    max_size=2,
)
effects = st.fixed_dictionaries(
    {"scope": st.sampled_from(["default", "global", "tenant:acme", "provider:maker"])},
    optional={"require": tables, "deny": tables, "max_cost": st.integers(1, 5), "prefer": tables},
).filter(lambda fields: len(fields) > 1)
keys = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.sampled_from("abc"),
            "provider": st.sampled_from(["maker", "other"]),
            "tier": st.integers(1, 2),
            "tags": st.dictionaries(st.just("region"), st.sampled_from(["eu", "us"])),
        }
    ),
    max_size=5,
)


@given(fields=st.lists(effects, max_size=5), more=effects, candidates=keys, seed=st.integers(0, 99))
def test_another_restriction_never_opens_anything_and_order_never_matters(
    fields: list[dict[str, object]], more: dict[str, object], candidates: list[dict[str, object]], seed: int
) -> None:
    rules = [rule(f"p{at}", **each) for at, each in enumerate(fields)]
    shuffled = [*rules]
    Random(seed).shuffle(shuffled)
    before, again = judge(*rules), judge(*shuffled)
    after = judge(*rules, rule("more", **more))
    for each in candidates:
        assert before.refusal(each, cost=2 * 10**9) == again.refusal(each, cost=2 * 10**9)
        if before.refusal(each, cost=2 * 10**9):
            assert after.refusal(each, cost=2 * 10**9)
        assert after.preference(each) >= before.preference(each)
    if before.max_cost is not None:
        assert after.max_cost is not None
        assert after.max_cost <= before.max_cost


class TestFacts:
    def test_a_request(self) -> None:
        request = Request(model="fast", tenant="acme", tags={"a": "b"}, needs=frozenset({"tools"}))
        known = request_facts(request, model="gpt-4o", input_tokens=10, output_tokens=20)
        assert (known["model"], known["route"], known["tenant"], known["user"]) == ("gpt-4o", "fast", "acme", "")
        assert (known["input_tokens"], known["max_output_tokens"]) == (10, 20)

    @pytest.mark.parametrize(
        ("zone", "hour", "weekday", "date"),
        [("UTC", 12, 1, "2026-11-23"), ("Asia/Tokyo", 21, 1, "2026-11-23"), ("Pacific/Kiritimati", 2, 2, "2026-11-24")],
    )
    def test_time(self, zone: str, hour: int, weekday: int, date: str) -> None:
        known = time_facts(MONDAY_NOON + 59, zone)
        assert (known["hour"], known["weekday"], known["date"], known["minute"]) == (hour, weekday, date, 0)

    def test_budgets(self) -> None:
        from apikeyrouter.core.budget import Budget, BudgetTree

        tree = BudgetTree(
            [
                Budget(scope="global", limit=4),
                Budget(scope="tenant:a", limit=10, mode="soft"),
                Budget(scope="user:u", limit=0),
            ]
        )
        nodes = tree.request_path(tenant="a", user=None, tags={}, route="", now=MONDAY_NOON)
        tree.hold(nodes, 3 * 10**9, MONDAY_NOON)
        assert budget_facts(nodes) == {"used": 0.75, "remaining": 1.0, "limited": True}
        assert budget_facts(()) == {"used": 0.0, "remaining": float("inf"), "limited": False}
        nothing = tree.request_path(tenant=None, user="u", tags={}, route="", now=MONDAY_NOON)
        assert budget_facts(nothing)["used"] == 1.0


def test_a_rehearsal_counts_what_would_change() -> None:
    cases = [
        Case(id=f"r{at}", request=request_facts(Request(model="gpt-4o", tenant=tenant, user="u")),
             keys=[key("a", tags={"region": "eu"}), key("b", tags={"region": "us"})], now=MONDAY_NOON)
        for at, tenant in enumerate(["acme", "acme", "other"])
    ]  # fmt: skip
    before = Rulebook([rule("old", deny={"id": "b"})])
    after = Rulebook(
        [
            rule("eu", scope="tenant:acme", require={"tags.region": "ch"}),
            rule("cap", scope="tenant:other", max_cost=1, objective="cost", downgrade={"gpt-4o": "small"}),
        ]
    )
    impact = rehearse(before, after, cases)
    assert impact.requests == 3
    assert impact.newly_refused == 2
    assert impact.examples == ["r0", "r1"]
    assert impact.removed == {"eu": 2}
    assert impact.returned == {"old": 1}
    assert (impact.objectives, impact.models, impact.caps) == (1, 1, 1)
    assert impact.changes_anything
    assert not rehearse(before, before, cases).changes_anything
    assert rehearse(after, before, cases).newly_served == 2


@pytest.mark.parametrize(
    ("cost_nano", "told"),
    [
        (3_100_000_000, "would have changed 812 of 10,000 decisions, +$3.10"),
        (-3_100_000_000, "would have changed 812 of 10,000 decisions, -$3.10"),
        (0, "would have changed 812 of 10,000 decisions, +$0.00"),
        (31_234, "would have changed 812 of 10,000 decisions, +$0.00003123"),
    ],
)
def test_a_rehearsal_is_told_in_one_sentence(cost_nano: int, told: str) -> None:
    assert str(Impact(requests=10_000, changed=812, cost_nano=cost_nano)) == told
