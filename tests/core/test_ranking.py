"""Objectives that rank terms, terms of one's own, and prompts that go where their beginning is cached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal

import pytest
from rig import MODEL, Rig, ask

from apikeyrouter.core import score
from apikeyrouter.core.affinity import Homes
from apikeyrouter.core.measure import measure
from apikeyrouter.core.price import Price
from apikeyrouter.core.score import Objective, objective
from apikeyrouter.core.terms import BAND, Option, ranked
from apikeyrouter.errors import InvalidConfigurationError


def three(what: object, **prices: str) -> Rig:
    rig = Rig(objective=what)
    for name, price in prices.items():
        rig.price(price, provider=name)
        rig.key(name, provider=name, models=[MODEL])
    return rig


def chosen(rig: Rig, times: int = 40) -> set[str | None]:
    return {rig.router.preview(ask(100, 100)).key for _ in range(times)}


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"x": [0.0, 0.04, 0.5], "y": [1.0, 0.0, 0.0]}, [1]),
        ({"x": [0.0, 0.06, 0.5], "y": [1.0, 0.0, 0.0]}, [0]),
        ({"x": [0.2, 0.2, 0.2], "y": [0.3, 0.34, 0.36]}, [0, 1]),
        ({"x": [0.9], "y": [1.0]}, [0]),
    ],
)
def test_each_term_keeps_who_is_within_the_band_of_its_best(
    columns: dict[str, list[float]], expected: list[int]
) -> None:
    assert BAND == 0.05
    assert ranked(("x", "y"), columns, len(columns["x"])) == expected


def test_a_ranked_term_outweighs_all_that_follow() -> None:
    """By weights of one to a twentieth, the best quality would make up for a price that is nearly as low."""
    rig = three({"order": ["cost", "quality"]}, a="1.00", b="1.03", c="2.00")
    for name, quality in (("a", 0.1), ("b", 0.9), ("c", 1.0)):
        rig.registry.key(name).quality = quality
    rig.registry.changed()
    assert chosen(rig) == {"b"}  # within 5 % of the best price, and better; c is better still and too dear
    rig.registry.reprice("b", MODEL, Price.of("b", input="1.30", output="1.30"))
    assert chosen(rig) == {"a"}


def test_equals_in_all_bands_share_by_weight() -> None:
    rig = three({"order": ["cost"]}, a="1", b="1")
    rig.registry.key("b").weight = 3.0
    counts = Counter(rig.router.preview(ask(100, 100)).key for _ in range(2_000))
    assert counts["b"] / 2_000 == pytest.approx(0.75, abs=0.04)


def test_a_ranking_is_explained() -> None:
    rig = three({"order": ["cost", "quality"]}, a="1", b="2")
    lines = str(rig.router.acquire(ask(100, 100)).decision).splitlines()
    assert lines[0].split()[1] == "a"
    assert "b lost by 0.50 on cost, which ranks before" in lines[-1]


# -- a term of one's own --------------------------------------------------------------------------------------------


@pytest.fixture
def green() -> Iterator[list[Option]]:
    seen: list[Option] = []

    @objective("green")
    def _green(option: Option) -> float:
        seen.append(option)
        return float(option.tags.get("grams", "1000")) / 1000

    yield seen
    score._OWN.clear()


@pytest.mark.parametrize("what", ["green", {"green": 1}, {"order": ["green"]}, {"green": 0.9, "cost": 0.1}])
def test_one_function_is_an_objective(green: list[Option], what: object) -> None:
    rig = three(what, a="1", b="2")
    rig.registry.keys.clear()
    rig.registry.fingerprints.clear()
    rig.key("a", provider="a", models=[MODEL], tags={"grams": "900"})
    rig.key("b", provider="b", models=[MODEL], tags={"grams": "100"})
    assert chosen(rig, 5) == {"b"}
    assert {option.key for option in green} == {"a", "b"}
    assert {option.cost for option in green} == {Decimal("0.0002"), green[-1].cost}
    text = str(rig.router.acquire(ask(100, 100)).decision)
    assert "green" in text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "no number", None])
def test_what_a_function_of_ones_own_gets_wrong_is_the_worst_and_breaks_nothing(value: object) -> None:
    @objective("odd")
    def _odd(option: Option) -> float:
        return value if option.key == "a" else 0.5  # type: ignore[return-value]  # the point of the test

    try:
        assert chosen(three("odd", a="1", b="1"), 5) == {"b"}
    finally:
        score._OWN.clear()


@pytest.mark.parametrize("name", ["cost", "default", "order", "constraints", "", "Has Space", "x" * 99])
def test_a_name_that_is_taken_or_none_is_refused(name: str) -> None:
    with pytest.raises(InvalidConfigurationError, match="cannot be called"):
        objective(name)
    with pytest.raises(InvalidConfigurationError, match="unknown"):
        Objective.of("never-registered")


# -- affinity ---------------------------------------------------------------------------------------------------------


def many(**more: object) -> Rig:
    rig = Rig(objective={"affinity": 0.6, "capacity": 0.4}, **more)  # type: ignore[arg-type]
    rig.price("1")
    for n in range(6):
        rig.key(f"k{n}", models=[MODEL])
    return rig


def test_a_session_stays_with_its_pool() -> None:
    rig = many()
    for session in ("one", "two", "three"):
        used = {rig.router.acquire(ask(10, 10, session=session)).key_id for _ in range(20)}
        assert len(used) == 1
    assert len({rig.router.acquire(ask(10, 10)).key_id for _ in range(60)}) == 6  # without one it goes anywhere


def test_a_session_stays_though_the_objective_says_nothing_of_it() -> None:
    rig = Rig()
    rig.price("1")
    for n in range(6):
        rig.key(f"k{n}", models=[MODEL])
    for wanted in (None, {"cost": 6, "capacity": 3}):
        for session in ("one", "two", "three"):
            asked = [rig.router.acquire(ask(10, 10, session=session, objective=wanted)) for _ in range(20)]
            assert len({lease.key_id for lease in asked}) == 1
    assert len({rig.router.acquire(ask(10, 10)).key_id for _ in range(60)}) == 6
    rig.registry.pools[asked[0].key_id].throttle(rig.clock.time, rig.clock.time + 60, "429")
    assert rig.router.acquire(ask(10, 10, session="three")).key_id != asked[0].key_id


def test_a_session_moves_where_another_key_is_much_cheaper() -> None:
    rig = Rig(objective="cost")
    rig.price("1")
    rig.price("9", provider="dear")
    rig.key("dear", provider="dear", models=[MODEL])
    assert rig.router.acquire(ask(10, 10, session="s")).key_id == "dear"
    rig.key("cheap", models=[MODEL])
    assert rig.router.acquire(ask(10, 10, session="s")).key_id == "cheap"


def test_a_long_beginning_stays_and_a_short_one_goes_anywhere() -> None:
    def body(question: str, system: str) -> dict[str, object]:
        return {"messages": [{"role": "system", "content": system}, {"role": "user", "content": question}]}

    rig = many()
    for system, pools in (("s" * 5_000, 1), ("short", 6)):
        weights = [measure("chat", body(f"question {n}", system)) for n in range(60)]
        used = {rig.router.acquire(ask(None, 10), measure=w).key_id for w in weights}  # type: ignore[arg-type]
        assert len(used) == pools, system[:5]


def test_a_pool_without_room_is_left_for_another() -> None:
    rig = many()
    home = rig.router.acquire(ask(10, 10, session="s")).key_id
    rig.registry.pools[home].throttle(rig.clock.time, rig.clock.time + 60, "429")
    other = rig.router.acquire(ask(10, 10, session="s")).key_id
    assert other != home
    rig.clock.advance(120)
    rig.router.refresh()
    assert rig.router.acquire(ask(10, 10, session="s")).key_id == other  # its cache is warm there now


def test_memory_is_bounded_and_forgets_what_was_used_longest_ago() -> None:
    homes = Homes(most=3)
    for n in range(5):
        homes.remember(("m", n), f"p{n}")
        homes.remember(("m", 1), "p1")
    assert len(homes) == 3
    assert [homes.find(("m", n)) for n in range(5)] == [None, "p1", None, "p3", "p4"]
