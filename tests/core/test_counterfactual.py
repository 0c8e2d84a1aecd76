"""What an explanation says would have made the runner-up win does make it win, and a little less does not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig import MODEL, Rig, ask

from apikeyrouter.core.explain import scored
from apikeyrouter.core.window import Limit

TOLD = re.compile(r"a: (\d\.\d\d)\. (\S+) lost by (\S+) on (\S+)(?:; with (.*) it would have won)?\.")


def two(cheap: int, dear: int, objective: object = None, *, used: int = 0) -> tuple[Rig, str]:
    """Two keys of two providers ; the dear one's pool has `used` tokens used, the other's 60,000."""
    rig = Rig(objective=objective or {"cost": 0.5, "capacity": 0.5})
    rig.price(str(cheap), provider="p")
    rig.price(str(dear), provider="q")
    rig.key("a", [Limit.tpm(100_000)], provider="p", models=[MODEL])
    rig.key("b", [Limit.tpm(100_000)], provider="q", models=[MODEL])
    if used:
        rig.registry.pools["a"].windows[0].level -= 60_000
        rig.registry.pools["b"].windows[0].level -= used
    return rig, str(rig.router.acquire(ask(800, 200)).decision).splitlines()[-1].strip()


@given(cheap=st.integers(100, 900), cut=st.integers(1, 80))
def test_the_lower_price_is_enough_and_necessary(cheap: int, cut: int) -> None:
    dear = cheap * 100 // (100 - cut) + 2
    _, text = two(cheap, dear, "cost")
    found = re.search(r"a (\d+) % lower price", text)
    assert found is not None, text
    percent = int(found[1])
    enough, less = int(dear * (1 - (percent + 1) / 100)), int(dear * (1 - (percent - 2) / 100)) + 1
    assert two(cheap, max(1, enough), "cost")[0].router.acquire(ask(800, 200)).decision.key == "b"
    assert " b lost by" in two(cheap, less, "cost")[1]


def test_the_headroom_is_enough_and_necessary() -> None:
    weights = {"cost": 0.1, "capacity": 0.9}
    _, text = two(100, 101, weights, used=80_000)
    found = re.search(r"\+([\d,]+) tokens of headroom", text)
    assert found is not None, text
    more = int(found[1].replace(",", ""))
    assert 20_000 < more < 40_000
    for step, winner in ((more - 2, "a"), (more + 2, "b")):
        rig, _ = two(100, 101, weights, used=80_000 - step)
        assert next(iter(rig.router.decisions.values())).key == winner


def test_what_it_lost_on_is_named_with_the_number() -> None:
    rig, text = two(100, 200, "cost")
    decision = rig.router.preview(ask(800, 200))
    rows = scored(decision)
    told = TOLD.fullmatch(text)
    assert told is not None, text
    assert (told[2], told[4]) == ("b", "cost")
    assert float(told[1]) == pytest.approx(rows[0].score, abs=0.006)
    assert float(told[3]) == pytest.approx(rows[1].score - rows[0].score, abs=0.006)


def test_a_loser_is_told_in_one_sentence_with_every_change_that_would_do() -> None:
    """The winner with its score, the runner-up with its gap, and what would have been enough."""
    _, text = two(100, 101, {"cost": 0.3, "capacity": 0.7}, used=80_000)
    told = (
        "a: 0.30. b lost by 0.02 on capacity; with +32,371 tokens of headroom or a 6 % lower price it would have won."
    )
    assert text == told


def test_no_change_is_promised_where_none_is_enough() -> None:
    """A free key cannot be undercut."""
    rig = Rig(objective={"cost": 1.0})
    rig.price("0", provider="p")
    rig.price("3", provider="q")
    rig.key("a", provider="p", models=[MODEL])
    rig.key("b", provider="q", models=[MODEL])
    assert str(rig.router.acquire(ask(800, 200)).decision).splitlines()[-1] == "  a: 0.00. b lost by 1.00 on cost."


def test_the_terms_told_are_those_of_the_decision_and_not_of_later() -> None:
    rig, _ = two(100, 200, {"cost": 0.5, "reliability": 0.5})
    decision = next(iter(rig.router.decisions.values()))
    before = str(decision)
    for _ in range(50):
        decision.scanned[0].deployment.reliability.record(False, rig.clock.time)
    assert str(decision) == before
