"""An explanation names everybody who could have served and everybody who could not, with the number that decided."""

from __future__ import annotations

import re
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig import MODEL, Rig, ask

from apikeyrouter.core import decision as why
from apikeyrouter.core.budget import Budget
from apikeyrouter.core.decision import Decision, Rejection
from apikeyrouter.core.explain import SHOWN, rejections, scored, sentence
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.key import Trigger
from apikeyrouter.core.price import Price
from apikeyrouter.core.window import NEVER, Limit
from apikeyrouter.errors import RoutingError


def mixed() -> Rig:
    """One key for each reason not to be chosen, and two that could serve."""
    rig = Rig(objective="cost", budgets=[Budget(scope="key:poor", limit="0.00001", period="total")])
    rig.price("1")
    rig.price("3", provider="dear")
    rig.key("winner", [Limit.rpm(100)], models=[MODEL])
    rig.key("loser", [Limit.rpm(100)], provider="dear", models=[MODEL])
    rig.key("full", [Limit.tpm(100)], models=[MODEL], tier=0)
    rig.key("stopped", models=[MODEL])
    rig.key("poor", models=[MODEL])
    rig.key("off", models=[MODEL])
    rig.key("other", models=["gpt-*"])
    rig.registry.key("off").apply(Trigger.DISABLED_BY_HAND, rig.clock.time)
    rig.registry.changed()
    pool = rig.registry.pools["stopped"]
    pool.throttle(rig.clock.time, rig.clock.time + 9.0, "429")
    return rig


def test_every_key_is_named_with_its_number() -> None:
    rig = mixed()
    decision = rig.router.acquire(ask(100, 50)).decision
    text = str(decision)
    lines = text.splitlines()
    assert re.fullmatch(
        rf"{decision.id}: winner chosen for p/m for at most \$0.00015: best of 2 that could serve, "
        r"score \d\.\d{3} \(.*\)\.",
        lines[0],
    )
    assert "100 input" in lines[1]
    assert "looked at 4 of 5" in lines[1]
    for told in (
        r"loser: score \d\.\d{3}, \+\d\.\d{3} behind \(",
        r"full: full tokens/minute has 100 free of the 150 needed, in no time|full: .*can never hold 150 at once",
        r"stopped: throttled by the provider, in 9\.0 s \(stopped 429\)",
        r"poor: costs up to \$0.00015, budget key:poor has \$0.00001",
        r"off: state is disabled",
        r"other: model does not serve m",
        r"loser lost by 0\.\d\d on cost; with a 67 % lower price it would have won",
    ):
        assert re.search(told, text), f"{told}\n{text}"


def test_a_price_is_told_with_its_source_and_its_date() -> None:
    rig = Rig()
    rig.prices.override("p", MODEL, Price.of(MODEL, input="1", output="1", source="a list 1.0", date="2026-11-01"))
    rig.key("k")
    assert "  price of m by a list 1.0, in force since 2026-11-01." in str(rig.router.acquire(ask(100)).decision)
    rig.prices.override("p", MODEL, Price.of(MODEL, input="2", output="2", source="configuration"))
    rig.registry.refresh_prices()
    assert "  price of m by configuration." in str(rig.router.acquire(ask(100)).decision)


def test_scores_are_told_in_parts_that_add_up() -> None:
    decision = mixed().router.acquire(ask(100, 50)).decision
    rows = scored(decision)
    assert [row.key for row in rows] == ["winner", "loser"]
    assert rows[0].score < rows[1].score
    for row in rows:
        assert sum(row.terms.values()) == pytest.approx(row.score)
    assert (rows[0].cost, rows[1].cost) == (150_000, 450_000)


def test_a_refusal_tells_what_would_have_to_happen() -> None:
    rig = Rig()
    rig.key("k", [Limit.tpm(100)])
    rig.router.acquire(ask(80))
    with pytest.raises(RoutingError) as caught:
        rig.router.acquire(ask(50))
    text = str(caught.value.decision)
    assert "no key for m: 1 candidates, none could serve; room again in 18.0 s" in text
    assert "k: k tokens/minute has 20 free of the 50 needed, in 18.0 s." in text
    assert "k would serve with 30 more free in tokens/minute, expected in 18.0 s." in text


@pytest.mark.parametrize("keys", [SHOWN, SHOWN + 1, 40])
def test_beyond_a_dozen_the_rest_is_counted(keys: int) -> None:
    rig = Rig()
    for i in range(keys):
        rig.key(f"k{i}", [Limit.rpm(1)])
    for _ in range(keys):
        rig.router.acquire(ask(1))
    with pytest.raises(RoutingError) as caught:
        rig.router.acquire(ask(1))
    text = str(caught.value.decision)
    if keys == SHOWN:
        assert all(f"k{i}: " in text for i in range(keys))
    else:
        assert f"{keys:,} keys of p/m are without room; the first may have some in 60.0 s" in text


def test_excluded_keys_beyond_a_dozen_are_counted() -> None:
    rig = Rig()
    for i in range(20):
        rig.key(f"k{i}", models=["gpt-*"])
    rig.key("good", models=[MODEL])
    assert f"{20 - SHOWN} more were refused." in str(rig.router.acquire(ask(1)).decision)


def test_attempts_and_waits_are_told() -> None:
    rig = Rig()
    rig.key("k")
    decision = rig.router.acquire(ask(1), waited_s=2.5).decision
    decision.attempt = 3
    assert "after waiting 2.5 s (attempt 3)" in str(decision)


def test_the_fate_of_a_request_is_on_its_decision() -> None:
    rig = Rig()
    rig.price("1")
    rig.key("k")
    settled, released, failed, abandoned = (rig.router.acquire(ask(10)) for _ in range(4))
    rig.router.settle(settled, None)
    rig.router.release(released)
    rig.router.fail(failed, Failure(kind=Kind.TIMEOUT, billed=True))
    rig.router.abandon(abandoned.id)
    expired = rig.router.acquire(ask(10), timeout_s=1.0)
    rig.clock.advance(32)
    rig.router.refresh()
    fates = [lease.decision.outcome for lease in (settled, released, failed, abandoned, expired)]
    assert fates == ["settled", "released", "timeout", "abandoned", "expired"]


@pytest.mark.parametrize(
    ("rejection", "told"),
    [
        (Rejection("k", why.QUOTA, 3.9, 10, 5.0, "p t/minute"), "p t/minute has 3 free of the 10 needed, in 5.0 s"),
        (Rejection("k", why.QUOTA, -3.9, 10, 300.0, "w"), "w has 0 free of the 10 needed, in 5 min"),
        (Rejection("k", why.QUOTA, 1, 10_000, NEVER, "w"), "w can never hold 10,000 at once"),
        (Rejection("k", why.BUDGET, 2_000_000, 1_000, where="b"), "costs up to $0.002, budget b has $0.000001"),
        (Rejection("k", why.MAX_COST, 2_000_000_000, 0), "costs up to $2, max_cost has $0"),
        (Rejection("k", why.BREAKER, wait_s=8_000.0, where="open"), "breaker open, in 2.2 h"),
        (Rejection("k", why.MIN_RELIABILITY, 0.91, 0.95), "reliability 0.910 is below the minimum of 0.950"),
        (Rejection("k", why.MAX_LATENCY, 3.5, 2), "expected 3.50 s, more than the maximum of 2.00 s"),
        (Rejection("k", why.MIN_QUALITY, 0.5, 0.8), "quality 0.50 is below the minimum of 0.80"),
        (Rejection("k", why.OUTPUT_TOO_LONG, 9_000, 4_096), "can answer 4,096 tokens at most, 9,000 were asked"),
        (Rejection("k", why.CAPABILITY, where="tools"), "lacks tools"),
        (Rejection("k", why.TAGS, where="region=eu"), "is not tagged region=eu"),
        (Rejection("k", why.AVOIDED, where="timeout"), "failed this request before (timeout)"),
        (Rejection("k", "something_else", where="there"), "something else there"),
    ],
)  # fmt: skip
def test_each_reason_has_a_sentence(rejection: Rejection, told: str) -> None:
    assert sentence(rejection) == told


def test_every_reason_code_has_one() -> None:
    codes = {value for name, value in vars(why).items() if name.isupper() and isinstance(value, str)}
    bare = {code for code in codes if sentence(Rejection("k", code, where="x")) == f"{code.replace('_', ' ')} x"}
    assert bare <= {why.STATE, why.NOT_ON_PLAN, why.POLICY}, "read as they are"


def test_a_key_refused_twice_is_told_once() -> None:
    decision = mixed().router.acquire(ask(100, 50)).decision
    decision.rejected *= 3
    assert len(rejections(decision)) == len({(r.who, r.code) for r in rejections(decision)})


@given(
    st.lists(st.integers(1, 200), min_size=1, max_size=30),
    st.integers(1, 20),
    st.sampled_from(["cost", "fairness", None]),
)
def test_any_decision_can_be_told(sizes: list[int], keys: int, objective: str | None) -> None:
    rig = Rig(objective=objective)
    for i in range(keys):
        rig.key(f"k{i}", [Limit.tpm(100 + i), Limit.concurrency(3)])
    for size in sizes:
        try:
            decision = rig.router.acquire(ask(size)).decision
        except RoutingError as error:
            decision = cast(Decision, error.decision)
        text = str(decision)
        assert text.startswith(decision.id)
        assert all(line.endswith(".") for line in text.splitlines())
        assert "nan" not in text
