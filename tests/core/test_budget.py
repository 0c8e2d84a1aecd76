"""Money never goes further than its limits: declarations as tables, periods as examples, laws as a machine."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from apikeyrouter.core import budget as module
from apikeyrouter.core.budget import HUGE, Budget, BudgetTree, Node
from apikeyrouter.errors import InvalidConfigurationError

USD = 1_000_000_000
DAY = 86_400.0
NOON = datetime(2026, 3, 2, 12, tzinfo=ZoneInfo("UTC")).timestamp()


def asked(tree: BudgetTree, now: float = NOON, **names: object) -> tuple[Node, ...]:
    given_names = {"tenant": None, "user": None, "tags": {}, "route": "", **names}
    return tree.request_path(now=now, **given_names)  # type: ignore[arg-type]


def candidate(tree: BudgetTree, now: float = NOON, **names: object) -> tuple[Node, ...]:
    given_names = {"provider": "p", "pools": (), "key": "k", "model": "m", **names}
    return tree.candidate_path(now=now, **given_names)  # type: ignore[arg-type]


def spend(nodes: tuple[Node, ...], amount: int, now: float = NOON) -> tuple[module.Crossing, ...]:
    return BudgetTree.commit(nodes, BudgetTree.hold(nodes, amount, now), amount, amount)


def spend_key(tree: BudgetTree, tenant: str) -> str:
    """Spend a nano-dollar of a tenant's; the counter it went to."""
    nodes = asked(tree, tenant=tenant)
    spend(nodes, 1)
    return nodes[0].key


class TestDeclaring:
    @pytest.mark.parametrize(
        ("limit", "dollars"),
        [("20 USD", 20), ("$20", 20), ("$1,000.50", Decimal("1000.5")), (20, 20), (Decimal("0.1"), Decimal("0.1")),
         (0.1, Decimal("0.1")), ("1_000 usd", 1000), ("1e3", 1000), (" 5 ", 5), (0, 0)],
    )  # fmt: skip
    def test_amounts(self, limit: object, dollars: object) -> None:
        assert Budget(scope="global", limit=limit).limit == dollars  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("given_fields", "says"),
        [
            ({"limit": -5}, "limit that is -5"),
            ({"limit": "20 EUR"}, "in EUR"),
            ({"limit": "€20"}, "write an amount"),
            ({"limit": "NaN"}, "write an amount"),
            ({"limit": float("inf")}, "finite"),
            ({"limit": True}, "write an amount"),
            ({"limit": None}, "write an amount"),
            ({"limit": "1.2.3"}, "write an amount"),
            ({"limit": "1,5"}, "write an amount"),
            ({"limit": "1,50 USD"}, "write an amount"),
            ({"limit": "12,3456"}, "write an amount"),
            ({"limit": ""}, "write an amount"),
            ({"limit": "USD"}, "write an amount"),
            ({"limit": "_"}, "write an amount"),
            ({"spent": "-1"}, "spent that is -1"),
            ({"scope": "team:a"}, "unknown scope 'team:a'"),
            ({"scope": "global:x"}, "unknown scope"),
            ({"scope": "tenant:"}, "names no tenant"),
            ({"scope": "tenant"}, "names no tenant"),
            ({"scope": "tag:feature"}, "tag:NAME=VALUE"),
            ({"scope": "tag:=x"}, "tag:NAME=VALUE"),
            ({"scope": "tag:*=x"}, "tag:NAME=VALUE"),
            ({"scope": "tenant:*", "spent": 5}, "for every tenant alike"),
            ({"period": "year"}, "unknown period 'year'"),
            ({"period": "rolling"}, "unknown period"),
            ({"period": "rolling 0h"}, "unknown period"),
            ({"period": "rolling 24x"}, "unknown period"),
            ({"timezone": "Mars/Base"}, "unknown time zone 'Mars/Base'"),
            ({"timezone": "../../etc/passwd"}, "unknown time zone"),
            ({"mode": "firm"}, "unknown mode 'firm'"),
            ({"thresholds": (0.0,)}, "thresholds"),
            ({"thresholds": (80,)}, "thresholds"),
            ({"downgrade": {"a": 7}}, "downgrade"),
        ],
    )
    def test_mistakes(self, given_fields: dict[str, object], says: str) -> None:
        with pytest.raises(InvalidConfigurationError, match=says) as raised:
            Budget(**{"scope": "global", "limit": 1, **given_fields})  # type: ignore[arg-type]
        assert raised.value.message.endswith(".")

    def test_every_mistake_is_told_at_once(self) -> None:
        with pytest.raises(InvalidConfigurationError) as raised:
            Budget(scope="x", limit="1 EUR", period="year", timezone="Mars", mode="firm")
        assert len(raised.value.problems) == 5

    def test_ids_are_made_of_what_tells_budgets_apart(self) -> None:
        pair = [Budget(scope="global", limit=1), Budget(scope="global", limit=2, mode="soft")]
        assert [budget.name for budget in pair] == ["global/day", "global/day/soft"]
        assert len(BudgetTree(pair).budgets) == 2
        with pytest.raises(InvalidConfigurationError, match="Two budgets are called 'global/day'"):
            BudgetTree([pair[0], pair[0]])


ALL = [
    "global", "tenant:a", "tenant:*", "user:u", "route:fast", "tag:feature=chat", "tag:feature=*", "provider:p",
    "pool:x", "pool:*", "key:k", "model:m", "model:gpt-4*",
]  # fmt: skip


class TestPaths:
    def tree(self) -> BudgetTree:
        return BudgetTree([Budget(scope=scope, limit=100, id=scope) for scope in ALL])

    @pytest.mark.parametrize(
        ("names", "keys"),
        [
            ({}, ["global"]),
            ({"tenant": "a"}, ["global", "tenant:a", "tenant:a"]),
            ({"tenant": "b"}, ["global", "tenant:b"]),
            ({"user": "u"}, ["global", "user:u"]),
            ({"user": "v"}, ["global"]),
            ({"route": "fast"}, ["global", "route:fast"]),
            ({"tags": {"feature": "chat", "team": "x"}}, ["global", "tag:feature=chat", "tag:feature=chat"]),
            ({"tags": {"feature": "mail"}}, ["global", "tag:feature=mail"]),
        ],
    )
    def test_of_requests(self, names: dict[str, object], keys: list[str]) -> None:
        tree = self.tree()
        assert [node.key for node in asked(tree, **names)] == keys
        assert asked(tree, **names) is asked(tree, **names)

    @pytest.mark.parametrize(
        ("names", "keys"),
        [
            ({}, ["provider:p", "key:k", "model:m"]),
            ({"provider": "q", "key": "z", "model": "z"}, []),
            ({"pools": ("x", "y")}, ["provider:p", "key:k", "model:m", "pool:x", "pool:x", "pool:y"]),
            ({"model": "gpt-4o"}, ["provider:p", "key:k", "model:gpt-4*"]),
        ],
    )
    def test_of_candidates(self, names: dict[str, object], keys: list[str]) -> None:
        tree = self.tree()
        assert [node.key for node in candidate(tree, **names)] == keys
        assert candidate(tree, **names) is candidate(tree, **names)

    @pytest.mark.parametrize("model", ["gpt-4o", "GPT-4O", "Gpt-4o"])
    def test_a_model_is_the_same_however_it_is_spelt(self, model: str) -> None:
        """Prices are found, and some providers answer, whatever the case: it must not buy another budget."""
        for scope in ("model:gpt-4o", "model:GPT-4o", "model:gpt-*"):
            tree = BudgetTree([Budget(scope=scope, limit=1)])
            nodes = tree.candidate_path(provider="p", pools=(), key="k", model=model, now=NOON)
            assert [node.key for node in nodes] == [scope]
        each = BudgetTree([Budget(scope="model:*", limit=1)])
        (node,) = each.candidate_path(provider="p", pools=(), key="k", model=model, now=NOON)
        assert node.key == "model:gpt-4o"

    def test_a_star_opens_one_counter_each_and_a_glob_shares_one(self) -> None:
        tree = BudgetTree([Budget(scope="tenant:*", limit=1), Budget(scope="model:gpt*", limit=1)])
        assert asked(tree, tenant="a")[0] is not asked(tree, tenant="b")[0]
        assert candidate(tree, model="gpt-4")[0] is candidate(tree, model="gpt-5")[0]

    def test_signs_of_globs_in_names_are_names(self) -> None:
        tree = BudgetTree([Budget(scope="tenant:team[1]", limit=1), Budget(scope="tenant:what?*", limit=1)])
        assert [node.key for node in asked(tree, tenant="team[1]")] == ["tenant:team[1]"]
        assert asked(tree, tenant="team1") == ()
        assert asked(tree, tenant="what?ever")
        assert asked(tree, tenant="whatever") == ()

    def test_without_budgets_there_is_all_the_room(self) -> None:
        tree = BudgetTree()
        nodes = asked(tree, tenant="a") + candidate(tree)
        assert nodes == ()
        assert tree.room(nodes, NOON) == (HUGE, None)
        assert tree.room(nodes, NOON) is tree.room(nodes, NOON)
        assert tree.commit(nodes, tree.hold(nodes, 5, NOON), 5, 5) == ()

    def test_what_no_budget_names_is_not_remembered(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=1)])
        for at in range(1000):
            asked(tree, tenant=f"t{at}", user=f"u{at}", tags={"x": str(at)})
        assert len(tree._paths) == 1


class TestInventedNames:
    """Callers choose tenants and users: neither memory nor money may grow with their fantasy."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_INSTANCES", 10)
        monkeypatch.setattr(module, "MAX_PATHS", 20)

    def test_beyond_the_bound_all_share_one_counter(self) -> None:
        tree = BudgetTree([Budget(scope="tenant:*", limit=1)])
        for at in range(10):
            spend(asked(tree, tenant=f"t{at}"), USD)
        late = asked(tree, tenant="late"), asked(tree, tenant="later")
        assert late[0][0] is late[1][0]
        assert late[0][0].key == "tenant:*"
        spend(late[0], USD)
        assert tree.room(late[1], NOON)[0] == 0

    def test_idle_counters_make_room(self) -> None:
        tree = BudgetTree([Budget(scope="tenant:*", limit=1)])
        held = asked(tree, tenant="busy")
        tree.hold(held, 5, NOON)
        for at in range(9):
            asked(tree, tenant=f"t{at}")
        assert [node.key for node in asked(tree, tenant="new")] == ["tenant:new"]
        assert asked(tree, tenant="busy") == held

    def test_as_many_as_were_idle_find_room(self) -> None:
        tree = BudgetTree([Budget(scope="tenant:*", limit=1)])
        for at in range(10):
            asked(tree, tenant=f"idle{at}")
        news = [spend_key(tree, f"new{at}") for at in range(11)]
        assert news == [f"tenant:new{at}" for at in range(10)] + ["tenant:*"]

    def test_candidates_keep_their_counters(self) -> None:
        tree = BudgetTree([Budget(scope="model:*", limit=1)])
        kept = [candidate(tree, model=f"m{at}")[0] for at in range(10)]
        assert candidate(tree, model="late")[0].key == "model:*"
        assert [candidate(tree, model=f"m{at}")[0] for at in range(10)] == kept

    def test_yesterdays_spenders_make_room_today(self) -> None:
        tree = BudgetTree([Budget(scope="user:*", limit=1)])
        for at in range(10):
            spend(asked(tree, user=f"u{at}"), USD)
        assert asked(tree, user="x")[0].key == "user:*"
        assert asked(tree, now=NOON + DAY, user="y")[0].key == "user:y"

    def test_paths_and_counters_stay_bounded(self) -> None:
        tree = BudgetTree([Budget(scope="tenant:*", limit=1), Budget(scope="model:*", limit=1)])
        for at in range(500):
            spend(asked(tree, tenant=f"t{at}") + candidate(tree, model=f"m{at}"), 1)
        assert len(tree._paths) <= 20
        assert len(tree.status()) <= 22

    def test_a_name_of_absurd_length_gets_no_counter_of_its_own(self) -> None:
        tree = BudgetTree([Budget(scope="tenant:*", limit=1)])
        assert asked(tree, tenant="x" * 1000)[0].key == "tenant:*"


class TestHolding:
    def test_the_least_hard_room_binds(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=10), Budget(scope="tenant:a", limit=3)])
        nodes = asked(tree, tenant="a")
        room, binding = tree.room(nodes, NOON)
        assert room == 3 * USD
        assert binding is nodes[1]
        epochs = tree.hold(nodes, 2 * USD, NOON)
        assert tree.room(nodes, NOON)[0] == 1 * USD
        tree.commit(nodes, epochs, 2 * USD, USD)
        assert tree.room(nodes, NOON)[0] == 2 * USD

    def test_a_soft_budget_counts_but_does_not_bind(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=1, mode="soft")])
        nodes = asked(tree)
        assert tree.room(nodes, NOON) == (HUGE, None)
        spend(nodes, 5 * USD)
        assert tree.status()[0].spent == 5
        assert tree.status()[0].remaining == 0

    def test_release_gives_all_back(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=1), Budget(scope="key:k", limit=1, mode="soft")])
        nodes = asked(tree) + candidate(tree)
        tree.release(nodes, tree.hold(nodes, USD, NOON), USD)
        assert [(node.spent, node.held) for node in nodes] == [(0, 0), (0, 0)]

    def test_known_spend_counts_from_the_start(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=10, spent="9.5 USD")])
        assert tree.room(asked(tree), NOON)[0] == USD // 2
        assert tree.room(asked(tree), NOON + DAY)[0] == 10 * USD

    def test_a_limit_of_nothing_lets_only_free_requests_pass(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=0)])
        assert tree.room(asked(tree), NOON)[0] == 0
        assert spend(asked(tree), 0) == ()


class TestTelling:
    def test_each_threshold_is_told_once_and_in_order(self) -> None:
        nodes = asked(BudgetTree([Budget(scope="global", limit=10, id="b")]))
        told = [crossing.fraction for _ in range(12) for crossing in spend(nodes, USD)]
        assert told == [0.5, 0.8, 1.0]

    def test_a_leap_tells_the_highest(self) -> None:
        nodes = asked(BudgetTree([Budget(scope="global", limit=10, id="b")]))
        (crossing,) = spend(nodes, 9 * USD)
        assert (crossing.budget, crossing.key, crossing.fraction) == ("b", "global", 0.8)
        assert (crossing.spent, crossing.limit, crossing.overrun) == (9 * USD, 10 * USD, 0)

    def test_a_new_period_tells_anew(self) -> None:
        nodes = asked(BudgetTree([Budget(scope="global", limit=10)]))
        assert spend(nodes, 6 * USD)
        assert spend(nodes, 1 * USD) == ()
        assert [c.fraction for c in spend(nodes, 6 * USD, NOON + DAY)] == [0.5]

    def test_an_overrun_is_recorded_blocks_and_is_told(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=10, thresholds=())])
        nodes = asked(tree)
        epochs = tree.hold(nodes, 9 * USD, NOON)
        (crossing,) = tree.commit(nodes, epochs, 9 * USD, 12 * USD)
        assert crossing.overrun == 3 * USD
        assert tree.room(nodes, NOON) == (-2 * USD, nodes[0])
        assert tree.status()[0].overrun == 3
        assert tree.room(nodes, NOON + DAY) == (10 * USD, nodes[0])
        assert tree.status()[0].overrun == 0

    def test_a_commit_beyond_its_hold_within_the_limit_is_recorded_quietly(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=10, thresholds=())])
        nodes = asked(tree)
        assert tree.commit(nodes, tree.hold(nodes, USD, NOON), USD, 2 * USD) == ()
        assert tree.status()[0].overrun == 1


class TestPeriods:
    def test_a_hold_belongs_to_the_period_it_was_taken_in(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=10)])
        nodes = asked(tree)
        epochs = tree.hold(nodes, 8 * USD, NOON)
        assert tree.room(nodes, NOON + DAY)[0] == 10 * USD
        assert tree.commit(nodes, epochs, 8 * USD, 7 * USD) == ()
        node = nodes[0]
        assert (node.spent, node.held) == (0, 0)
        assert (node.past[-1].spent, node.past[-1].held) == (7 * USD, 0)
        assert tree.status()[0].last_period == 7

    def test_a_period_with_open_holds_is_kept_however_old(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=10, period="minute")])
        nodes = asked(tree)
        epochs = tree.hold(nodes, USD, NOON)
        for minute in range(1, 100):
            spend(nodes, 1, NOON + 60 * minute)
        tree.commit(nodes, epochs, USD, USD // 2)
        assert [(past.held, past.spent) for past in nodes[0].past if past.epoch == epochs[0]] == [(0, USD // 2)]
        for minute in range(100, 110):
            spend(nodes, 1, NOON + 60 * minute)
        assert len(nodes[0].past) == 8

    @pytest.mark.parametrize(
        ("period", "zone", "now", "turns"),
        [
            ("minute", "UTC", "2026-03-02T12:34:56+00:00", "2026-03-02T12:35:00+00:00"),
            ("hour", "UTC", "2026-03-02T12:34:56+00:00", "2026-03-02T13:00:00+00:00"),
            ("day", "UTC", "2026-03-02T12:34:56+00:00", "2026-03-03T00:00:00+00:00"),
            ("day", "America/Los_Angeles", "2026-03-08T01:00:00-08:00", "2026-03-09T00:00:00-07:00"),
            ("day", "America/Los_Angeles", "2026-11-01T00:30:00-07:00", "2026-11-02T00:00:00-08:00"),
            ("day", "Australia/Lord_Howe", "2026-10-04T00:30:00+10:30", "2026-10-05T00:00:00+11:00"),
            ("week", "Europe/Berlin", "2026-03-25T12:00:00+01:00", "2026-03-30T00:00:00+02:00"),
            ("month", "Asia/Tokyo", "2026-02-28T23:59:59+09:00", "2026-03-01T00:00:00+09:00"),
            ("month", "UTC", "2026-12-31T23:59:59+00:00", "2027-01-01T00:00:00+00:00"),
        ],
    )
    def test_calendars(self, period: str, zone: str, now: str, turns: str) -> None:
        tree = BudgetTree([Budget(scope="global", limit=1, period=period, timezone=zone)])
        at, turn = datetime.fromisoformat(now).timestamp(), datetime.fromisoformat(turns).timestamp()
        nodes = asked(tree, now=at)
        spend(nodes, USD, at)
        assert tree.room(nodes, turn - 0.001)[0] == 0
        assert tree.room(nodes, turn)[0] == USD

    def test_a_total_never_turns(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=1, period="total")])
        nodes = asked(tree)
        spend(nodes, USD)
        assert tree.room(nodes, NOON + 10_000 * DAY)[0] == 0
        assert tree.status()[0].reset_at is None

    def test_a_rolling_window_forgets_by_parts(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=24, period="rolling 24h")])
        nodes = asked(tree)
        for hour in range(24):
            spend(nodes, USD, NOON + hour * 3600)
        assert tree.room(nodes, NOON + 24 * 3600)[0] == 0
        assert tree.room(nodes, NOON + 25 * 3600)[0] == 1 * USD
        assert tree.room(nodes, NOON + 30 * 3600)[0] == 6 * USD
        assert tree.room(nodes, NOON + 100 * 3600)[0] == 24 * USD

    def test_known_spend_leaves_a_rolling_window_too(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=10, spent=10, period="rolling 1d")])
        assert tree.room(asked(tree), NOON)[0] == 0
        assert tree.room(asked(tree), NOON + 2 * DAY)[0] == 10 * USD

    def test_time_that_runs_backwards_turns_nothing(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=10)])
        nodes = asked(tree)
        spend(nodes, 5 * USD)
        assert tree.room(nodes, NOON - 10 * DAY)[0] == 5 * USD


class TestReplacing:
    def test_spend_and_holds_stay_while_limits_change(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=10, id="b")])
        nodes = asked(tree)
        spend(nodes, 4 * USD)
        epochs = tree.hold(nodes, 2 * USD, NOON)
        tree.replace([Budget(scope="global", limit=5, id="b")], NOON)
        assert asked(tree) == nodes
        assert tree.room(nodes, NOON)[0] == -1 * USD
        tree.commit(nodes, epochs, 2 * USD, 1 * USD)
        assert tree.room(nodes, NOON)[0] == 0

    def test_a_budget_that_went_binds_no_longer_whoever_still_has_its_counter(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=1, id="b")])
        nodes = asked(tree)
        epochs = tree.hold(nodes, USD, NOON)
        tree.replace([], NOON)
        assert tree.room(nodes, NOON) == (HUGE, None)
        assert asked(tree) == ()
        assert tree.commit(nodes, epochs, USD, 5 * USD) == ()

    def test_a_new_budget_counts_from_now(self) -> None:
        tree = BudgetTree()
        assert asked(tree) == ()
        tree.replace([Budget(scope="global", limit=1)], NOON)
        assert tree.room(asked(tree), NOON)[0] == USD

    def test_an_id_that_moves_to_another_scope_is_another_budget(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=1, id="b")])
        spend(asked(tree), USD)
        old = asked(tree)
        tree.replace([Budget(scope="tenant:a", limit=1, id="b")], NOON)
        assert tree.room(asked(tree, tenant="a"), NOON)[0] == USD
        assert tree.room(old, NOON) == (HUGE, None)
        assert len(tree.status()) == 1

    def test_a_reload_after_midnight_does_not_carry_yesterday_over(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=10, id="b")])
        spend(asked(tree), 9 * USD)
        tree.replace([Budget(scope="global", limit=10, id="b", mode="soft")], NOON + DAY)
        assert tree.status()[0].spent == 0

    def test_another_period_keeps_what_is_spent(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=10, id="b")])
        nodes = asked(tree)
        spend(nodes, 9 * USD)
        tree.replace([Budget(scope="global", limit=10, period="month", id="b")], NOON)
        assert tree.room(nodes, NOON + DAY)[0] == 1 * USD
        tree.replace([Budget(scope="global", limit=10, period="rolling 24h", id="b")], NOON + DAY)
        assert tree.room(nodes, NOON + DAY)[0] == 1 * USD
        assert tree.room(nodes, NOON + 3 * DAY)[0] == 10 * USD

    def test_two_of_one_id_change_nothing(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=10)])
        with pytest.raises(InvalidConfigurationError):
            tree.replace([Budget(scope="tenant:*", limit=1, id="x"), Budget(scope="user:*", limit=1, id="x")], NOON)
        assert [node.key for node in asked(tree)] == ["global"]


class TestKeeping:
    BUDGETS = (
        Budget(scope="global", limit=10),
        Budget(scope="tenant:*", limit=10, period="month"),
        Budget(scope="key:k", limit=10, period="rolling 24h"),
        Budget(scope="model:m", limit=10, period="total"),
    )

    def used(self) -> BudgetTree:
        tree = BudgetTree(self.BUDGETS)
        nodes = asked(tree, tenant="a") + candidate(tree)
        spend(nodes, 3 * USD)
        tree.hold(nodes, USD, NOON)
        return tree

    def test_a_restart_counts_on_and_takes_open_holds_as_spent(self) -> None:
        tree = BudgetTree(self.BUDGETS)
        tree.restore(self.used().save(), NOON + 60)
        nodes = asked(tree, tenant="a") + candidate(tree)
        assert [node.spent for node in nodes] == [4 * USD] * 4
        assert [node.held for node in nodes] == [0] * 4
        assert tree.room(nodes, NOON + 60)[0] == 6 * USD

    def test_periods_that_ended_meanwhile_are_over(self) -> None:
        tree = BudgetTree(self.BUDGETS)
        tree.restore(self.used().save(), NOON + 2 * DAY)
        spent = {status.id: status.spent for status in tree.status(now=NOON + 2 * DAY)}
        assert spent == {
            "global/day": 0, "tenant:*/month": 4, "key:k/rolling 24h": 0, "model:m/total": 4,
        }  # fmt: skip

    def test_a_restored_window_goes_on_forgetting(self) -> None:
        tree = BudgetTree(self.BUDGETS)
        tree.restore(self.used().save(), NOON + 12 * 3600)
        nodes = candidate(tree)
        assert nodes[0].spent == 4 * USD
        tree.room(nodes, NOON + 26 * 3600)
        assert nodes[0].spent == 0

    def test_what_the_configuration_no_longer_has_is_ignored(self) -> None:
        tree = BudgetTree([Budget(scope="user:*", limit=1)])
        tree.restore(self.used().save(), NOON)
        assert tree.status() == ()

    def test_the_declared_spend_is_not_added_at_every_restart(self) -> None:
        budgets = [Budget(scope="global", limit=10, spent=2, id="b")]
        tree = BudgetTree(budgets)
        spend(asked(tree), USD)
        for _ in range(3):
            saved, tree = tree.save(), BudgetTree(budgets)
            tree.restore(saved, NOON)
        assert asked(tree)[0].spent == 3 * USD


class TestLooking:
    def test_status_by_scope_and_id(self) -> None:
        tree = BudgetTree([Budget(scope="tenant:*", limit="12.5", id="each"), Budget(scope="global", limit=1)])
        tree.start(NOON)
        asked(tree, tenant="a")
        asked(tree, tenant="b")
        assert len(tree.status()) == 3
        assert [status.scope for status in tree.status("tenant:a")] == ["tenant:a"]
        assert [status.scope for status in tree.status("tenant:*")] == ["tenant:a", "tenant:b"]
        assert [status.scope for status in tree.status("each")] == ["tenant:a", "tenant:b"]
        assert tree.status("tenant:a")[0].limit == Decimal("12.5")

    def test_budgets_of_one_counter_show_before_the_first_request(self) -> None:
        tree = BudgetTree([Budget(scope=scope, limit=1, id=scope) for scope in ALL])
        tree.start(NOON)
        assert len(tree.status()) == sum(not budget.each for budget in tree.budgets)
        assert asked(tree)[0].key == "global"
        assert len({id(node) for node in (*asked(tree), *asked(tree))}) == 1

    @pytest.mark.parametrize("period", ["day", "month", "total"])
    def test_exhaustion_is_foreseen_from_a_steady_spend(self, period: str) -> None:
        """A cent a minute of 10 dollars: 16 h 40 min after the start, within a tenth."""
        tree = BudgetTree([Budget(scope="global", limit=10, period=period)])
        start = datetime(2026, 3, 2, 0, 0, tzinfo=ZoneInfo("UTC")).timestamp()
        nodes = asked(tree, now=start)
        for minute in range(8 * 60):
            spend(nodes, USD // 100, start + minute * 60)
        at = tree.status(now=start + 8 * 3600)[0].exhausted_at
        assert at is not None
        assert abs(at - (start + 1000 * 60)) < 6000

    def test_none_is_foreseen_where_the_reset_comes_first_or_nothing_is_spent(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=10)])
        nodes = asked(tree)
        assert tree.status(now=NOON)[0].exhausted_at is None
        for minute in range(60):
            spend(nodes, USD // 1000, NOON + minute * 60)
        assert tree.status(now=NOON + 3600)[0].exhausted_at is None

    def test_a_spent_budget_is_exhausted_now(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=1)])
        spend(asked(tree), USD)
        assert tree.status(now=NOON + 1)[0].exhausted_at == NOON + 1
        spend(asked(tree), USD)
        assert tree.status(now=NOON + 1)[0].exhausted_at == NOON + 1

    def test_the_rate_follows_a_change_without_anybody_looking(self) -> None:
        """Ten quiet hours, then a cent a minute of 6 dollars: foreseen for 20:00 by the last hours, not by the day."""
        tree = BudgetTree([Budget(scope="global", limit=6)])
        start = datetime(2026, 3, 2, 0, 0, tzinfo=ZoneInfo("UTC")).timestamp()
        nodes = asked(tree, now=start)
        for minute in range(10 * 60, 16 * 60):
            spend(nodes, USD // 100, start + minute * 60)
        at = tree.status(now=start + 16 * 3600)[0].exhausted_at
        assert at is not None
        assert 19.5 < (at - start) / 3600 < 21.5

    def test_a_rolling_window_in_balance_is_never_exhausted(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=30, period="rolling 24h")])
        nodes = asked(tree)
        for hour in range(48):
            spend(nodes, USD, NOON + hour * 3600)
        assert tree.status(now=NOON + 48 * 3600)[0].exhausted_at is None

    def test_a_spree_exhausts_a_rolling_window(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=30, period="rolling 24h")])
        nodes = asked(tree)
        for hour in range(4):
            spend(nodes, 5 * USD, NOON + hour * 3600)
        at = tree.status(now=NOON + 4 * 3600)[0].exhausted_at
        assert at is not None
        assert NOON + 5 * 3600 <= at <= NOON + 7 * 3600


class TestDowngrading:
    @pytest.mark.parametrize(
        ("mode", "spent", "model", "instead"),
        [
            ("soft", 9, "big", None),
            ("soft", 10, "big", "small"),
            ("soft", 10, "gpt-4o", "gpt-4o-mini"),
            ("soft", 10, "gpt-4o-mini", None),
            ("soft", 10, "other", None),
            ("hard", 7, "big", None),
            ("hard", 8, "big", "small"),
        ],
    )
    def test_a_soft_budget_at_its_limit_and_a_hard_one_near_it(
        self, mode: str, spent: int, model: str, instead: str | None
    ) -> None:
        lower = {"big": "small", "gpt-4o*": "gpt-4o-mini"}
        tree = BudgetTree([Budget(scope="global", limit=10, mode=mode, downgrade=lower)])
        nodes = asked(tree)
        spend(nodes, spent * USD)
        answer = tree.downgrade(nodes, model, NOON)
        assert (answer and answer[0]) == instead
        assert tree.downgrade(nodes, model, NOON + DAY) is None

    def test_holds_count_because_they_may_be_spent(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=10, mode="soft", downgrade={"big": "small"})])
        nodes = asked(tree)
        tree.hold(nodes, 10 * USD, NOON)
        assert tree.downgrade(nodes, "big", NOON) == ("small", nodes[0])

    def test_a_budget_without_downgrades_never_asks_for_one(self) -> None:
        tree = BudgetTree([Budget(scope="global", limit=0, mode="soft")])
        nodes = asked(tree)
        spend(nodes, USD)
        assert tree.downgrade(nodes, "big", NOON) is None


amounts = st.integers(0, 4 * USD)
PERIODS = ["minute", "hour", "day", "month", "total", "rolling 10m", "rolling 2h"]


@settings(max_examples=60, stateful_step_count=40)
class Escrow(RuleBasedStateMachine):
    """Any sequence of holds, commits, releases, waits and reloads, beside a list of what was really spent and when."""

    @initialize(
        periods=st.lists(st.sampled_from(PERIODS), min_size=1, max_size=3),
        limits=st.lists(amounts, min_size=3, max_size=3),
    )
    def declare(self, periods: list[str], limits: list[int]) -> None:
        self.now = NOON
        scopes = ("global", "tenant:*", "key:k")
        self.budgets = [
            Budget(scope=scope, limit=Decimal(limit) / USD, period=period, id=scope)
            for scope, period, limit in zip(scopes, periods, limits, strict=False)
        ]
        self.tree = BudgetTree(self.budgets)
        self.open: list[tuple[tuple[Node, ...], tuple[int, ...], int, float]] = []
        self.spent: list[tuple[tuple[Node, ...], float, int]] = []
        self.overran = False

    def nodes(self, tenant: str) -> tuple[Node, ...]:
        return asked(self.tree, now=self.now, tenant=tenant) + candidate(self.tree, now=self.now)

    @rule(tenant=st.sampled_from("ab"), amount=amounts)
    def hold(self, tenant: str, amount: int) -> None:
        nodes = self.nodes(tenant)
        if amount <= self.tree.room(nodes, self.now)[0]:
            self.open.append((nodes, self.tree.hold(nodes, amount, self.now), amount, self.now))

    @precondition(lambda self: self.open)
    @rule(at=st.integers(0, 100), share=st.integers(0, 100))
    def commit(self, at: int, share: int) -> None:
        nodes, epochs, held, since = self.open.pop(at % len(self.open))
        actual = held * share // 100
        self.tree.commit(nodes, epochs, held, actual)
        self.spent.append((nodes, since, actual))

    @precondition(lambda self: self.open)
    @rule(at=st.integers(0, 100))
    def release(self, at: int) -> None:
        nodes, epochs, held, _ = self.open.pop(at % len(self.open))
        self.tree.release(nodes, epochs, held)

    @rule(seconds=st.sampled_from([0.0, 1.0, 25.0, 61.0, 600.0, 4000.0, 86_400.0, 40 * 86_400.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def reload(self) -> None:
        self.tree.replace(self.budgets, self.now)

    @invariant()
    def nothing_hard_is_exceeded(self) -> None:
        for node in self.live():
            assert node.spent + node.held <= node.limit
            assert node.spent >= 0
            assert node.held >= 0

    @invariant()
    def held_is_what_is_open(self) -> None:
        for node in self.live():
            mine = [held for nodes, epochs, held, _ in self.open for n, epoch in zip(nodes, epochs, strict=True)
                    if n is node and epoch == node.epoch]  # fmt: skip
            assert node.held == sum(mine)

    @invariant()
    def spent_is_what_was_spent_in_the_period(self) -> None:
        for node in self.live():
            length = node.budget.rolling_seconds
            mine = [(since, actual) for nodes, since, actual in self.spent if any(n is node for n in nodes)]
            if length is None:
                began = max((past.ended_at for past in node.past), default=0.0)
                assert node.spent == sum(actual for since, actual in mine if since >= began)
            else:
                least = sum(actual for since, actual in mine if since > self.now - length)
                assert least <= node.spent <= sum(actual for _, actual in mine)

    @invariant()
    def nothing_is_lost_over_all_periods(self) -> None:
        for node in self.live():
            if node.budget.rolling_seconds is None and len(node.past) < 8:
                mine = sum(actual for nodes, _, actual in self.spent if any(n is node for n in nodes))
                assert node.spent + sum(past.spent for past in node.past) == mine

    def live(self) -> list[Node]:
        if not hasattr(self, "tree"):
            return []
        found = {id(node): node for tenant in "ab" for node in self.nodes(tenant)}
        self.tree.room(tuple(found.values()), self.now)
        return list(found.values())

    def teardown(self) -> None:
        for nodes, epochs, held, _ in getattr(self, "open", []):
            self.tree.commit(nodes, epochs, held, held)
        assert not any(node.held for node in self.live())


TestEscrow = Escrow.TestCase


@given(
    limit=st.integers(0, 10 * USD),
    requests=st.lists(st.tuples(st.integers(0, USD), st.integers(0, 150)), max_size=30),
)
def test_an_overrun_stops_spending_within_one_request(limit: int, requests: list[tuple[int, int]]) -> None:
    """With commits up to half beyond their hold, one after the other: never more than one overrun past the limit."""
    tree = BudgetTree([Budget(scope="global", limit=Decimal(limit) / USD)])
    nodes = asked(tree)
    beyond = [0]
    for held, share in requests:
        if held > tree.room(nodes, NOON)[0]:
            continue
        actual = held * share // 100
        tree.commit(nodes, tree.hold(nodes, held, NOON), held, actual)
        beyond.append(max(0, actual - held))
    assert nodes[0].spent <= limit + max(beyond)
    assert nodes[0].overrun == sum(beyond)
