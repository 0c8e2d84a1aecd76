"""The line: fair among tenants, early deadlines first, nobody starved, nobody lost."""

from __future__ import annotations

from itertools import count
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.core.waiting import CREDIT, TURN, Line, Ticket

clock = count()


def ticket(tenant: str, *, priority: int = 0, tokens: int = 1000, deadline: float | None = None) -> Ticket:
    """In the order of their making unless a deadline says otherwise."""
    return Ticket(tenant, priority=priority, tokens=tokens, deadline=next(clock) if deadline is None else deadline)


def add(line: Line, *tickets: Ticket) -> None:
    for each in tickets:
        line.add(each)


def grant(line: Line) -> Ticket:
    """One grant, to whoever is offered it first."""
    found = next(line.order())
    line.serve(found)
    return found


def test_inside_a_tenant_the_earliest_deadline_goes_first() -> None:
    line = Line()
    add(line, *(ticket("a", deadline=at) for at in (5.0, 1.0, 3.0)))
    assert [each.deadline for each in line.order()] == [1.0, 3.0, 5.0]


def test_tenants_share_tokens_by_weight() -> None:
    line = Line()
    line.weights["heavy"] = 3.0
    add(line, *(ticket(name) for _ in range(100) for name in ("light", "heavy")))
    served = [grant(line).tenant for _ in range(80)]
    assert served.count("heavy") == pytest.approx(60, abs=4)


def test_large_requests_count_as_what_they_take() -> None:
    line = Line()
    add(line, *(ticket("large", tokens=4000) for _ in range(40)), *(ticket("small") for _ in range(100)))
    served = [grant(line).tenant for _ in range(50)]
    assert served.count("small") == pytest.approx(40, abs=4)


def test_higher_classes_go_first_and_lower_ones_are_not_forgotten() -> None:
    line = Line()
    add(line, *(ticket("a", priority=rank) for _ in range(200) for rank in (2, 1, 0)))
    served = [grant(line).priority for _ in range(16 * TURN)]
    assert served.count(2) >= len(served) * (1 - 1 / TURN)
    assert served.count(1) >= 4
    assert served.count(0) >= 4


def test_newcomers_go_before_a_loud_tenant_in_the_order_they_came() -> None:
    line = Line()
    add(line, *(ticket("loud") for _ in range(40)))
    for _ in range(20):
        grant(line)
    names = [f"n{i}" for i in range(20)]
    add(line, *(ticket(name) for name in names))
    assert [each.tenant for each in line.order()][:20] == names


def test_no_more_than_the_credit_is_hoarded() -> None:
    """Who stayed away for long does not shut the others out when it comes back."""
    line = Line()
    add(line, ticket("away"))
    grant(line)
    add(line, *(ticket("loud") for _ in range(600)))
    for _ in range(400):
        grant(line)
    add(line, *(ticket("away") for _ in range(100)))
    served = [grant(line).tenant for _ in range(4 * CREDIT)]
    assert CREDIT <= served.count("away") <= 2 * CREDIT + CREDIT


def waits_of_quiet(line: Line, arrivals: dict[int, int], *, loud: int) -> list[int]:
    """Grants that the quiet tenant's tickets waited for, one grant a tick, beside `loud` new tickets of a flood."""
    began: dict[Ticket, int] = {}
    waits = []
    for tick in range(max(arrivals) + 200):
        add(line, *(ticket("loud") for _ in range(loud)))
        for _ in range(arrivals.get(tick, 0)):
            mine = ticket("quiet")
            began[mine] = tick
            line.add(mine)
        if line.size:
            found = grant(line)
            if found in began:
                waits.append(tick - began[found] + 1)
    assert len(waits) == len(began)
    return waits


@pytest.mark.parametrize("seed", range(5))
def test_a_quiet_tenant_waits_at_most_twice_as_long_beside_a_flood(seed: int) -> None:
    """It uses a third of the whole, in bursts; the flood asks for three times the whole."""
    rng = Random(seed)
    arrivals = {tick: rng.randint(1, 6) for tick in range(0, 1200, 10)}
    alone = sorted(waits_of_quiet(Line(), arrivals, loud=0))
    beside = sorted(waits_of_quiet(Line(), arrivals, loud=3))
    p95 = int(0.95 * len(alone))
    assert alone[p95] >= 4
    assert beside[p95] <= 2 * alone[p95]


newcomers = st.lists(
    st.tuples(st.sampled_from(["a", "b", "new"]), st.integers(-2, 2), st.integers(1, 9000), st.floats(0, 1e6)),
    min_size=1,
    max_size=4,
)


@given(
    ahead=st.integers(0, 20),
    floods=st.lists(newcomers, min_size=1, max_size=8),
    victim=st.integers(-2, 2),
    history=st.integers(0, 20),
)
def test_nobody_can_be_starved(
    ahead: int, floods: list[list[tuple[str, int, int, float]]], victim: int, history: int
) -> None:
    """Whatever keeps coming, with any name, class, size and deadline, the n-th oldest has its turn by 2 * TURN * n."""
    line = Line()
    for _ in range(history):
        line.add(ticket("victim"))
        grant(line)
    add(line, *(ticket("before", priority=2) for _ in range(ahead)))
    mine = ticket("victim", priority=victim, deadline=1e9)
    line.add(mine)
    for grants in range(2 * TURN * (ahead + 1)):
        for tenant, priority, tokens, deadline in floods[grants % len(floods)]:
            name = f"{tenant}{grants}" if tenant == "new" else tenant
            line.add(Ticket(name, priority=priority, tokens=tokens, deadline=deadline))
        if grant(line) is mine:
            return
    raise AssertionError(f"waited for {2 * TURN * (ahead + 1)} grants in vain")


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("abc"), st.integers(0, 2), st.integers(0, 5000)),
        st.tuples(st.just("leave"), st.integers(0, 30), st.just(0), st.just(0)),
        st.tuples(st.just("grant"), st.integers(0, 30), st.just(0), st.just(0)),
    ),
    max_size=80,
)


@given(steps=steps)
def test_every_ticket_is_offered_once_and_the_sums_hold(steps: list[tuple[str, object, int, int]]) -> None:
    line, inside = Line(), list[Ticket]()
    for step, which, priority, tokens in steps:
        if step == "add":
            inside.append(ticket(str(which), priority=priority, tokens=tokens))
            line.add(inside[-1])
        elif inside and isinstance(which, int):
            gone = inside.pop(which % len(inside))
            (line.serve if step == "grant" else line.remove)(gone)
            line.remove(gone)
        offered = list(line.order())
        assert len(offered) == len(inside) == len(line)
        assert set(offered) == set(inside)
        last = ticket("z")
        assert line.ahead(last)[1] <= len(inside) + 1
        assert line.has(None) is bool(inside)


def test_those_who_left_are_not_kept() -> None:
    line = Line()
    line.add(ticket("patient", priority=-1))
    for _ in range(1000):
        gone = ticket("hasty", priority=1)
        line.add(gone)
        next(line.order())
        line.remove(gone)
    assert len(line._ages) < 4 * TURN
