"""Parking, waking and drawing: a sampled choice refuses and grants exactly what a scan of everybody would."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rig import Rig, ask

from apikeyrouter.core.budget import Budget
from apikeyrouter.core.ledger import Lease
from apikeyrouter.core.model import Request, Usage
from apikeyrouter.core.pool import Pool
from apikeyrouter.core.roster import DRAW, SCAN_ALL, Roster
from apikeyrouter.core.window import NEVER, Limit
from apikeyrouter.errors import QuotaExhaustedError, RoutingError

LIMITS = [
    (Limit.rpm(2),),
    (Limit.tpm(100),),
    (Limit.rpm(3), Limit.tpm(60)),
    (Limit.concurrency(1),),
    (Limit(of="tokens", amount=80, window="fixed"), Limit.concurrency(2)),
    (Limit(of="tokens", amount=80, window="rolling"),),
    (Limit.otpm(50),),
    (Limit(of="tokens", amount=90, refund=True), Limit.rps(1)),
]
MOVES = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "settle", "release", "advance", "stop"]),
        st.sampled_from([1, 5, 30, 59, 60, 95, 200]),
        st.integers(0, 1 << 16),
    ),
    min_size=5,
    max_size=120,
)


def roster_of(rig: Rig, request: Request) -> Roster:
    return rig.registry.roster(request.model, None, request.operation, request.needs, request.tenant, rig.clock.time)


def full_scan(rig: Rig, request: Request) -> list[str]:
    """Who could serve, looked at one by one."""
    tokens, output = request.input_tokens or 0, request.max_output_tokens or 0
    need, now = (1, tokens + output, tokens, output, 1, 0), rig.clock.time
    wanted = rig.router.asking.objective.constraints.tags.items()
    return [
        c.key.id
        for c in roster_of(rig, request).candidates
        if wanted <= c.key.tags.items() and all(p.fits_and_load(need, now) >= 0 for p in c.pools)
    ]


def many(rng: Random, keys: int, shared: int) -> Rig:
    """Keys of several tiers, qualities and tags (strata), with pools of their own or shared by several."""
    objectives = [None, "cost", "fairness", {"quality": 1}, {"constraints": {"tags": {"region": "eu"}}}]
    rig, owned = Rig(seed=rng.randrange(1 << 30), objective=rng.choice(objectives)), rng.random() < 0.3
    rig.price("1")
    limits = [rng.choice(LIMITS) for _ in range(keys)]
    for i in range(keys):
        tags = {"region": rng.choice(["eu", "us"])} if rng.random() < 0.3 else {}
        tags |= {"owner": f"o{i}"} if owned else {}
        pools = [f"own{i}", f"all{i % shared}"] if shared and rng.random() < 0.5 else [f"own{i}"]
        if i and rng.random() < 0.3:
            like = rng.randrange(i)
            limits[i], pools = limits[like], list(rig.registry.keys[f"k{like}"].pools)
        for extra in pools[1:]:
            rig.registry.add_pool(extra, (Limit.rpm(7), Limit.concurrency(4)), rig.clock.time)
        rig.key(f"k{i}", limits[i], pools=pools, tags=tags, tier=rng.choice([0, 0, 1]), quality=rng.choice([0.5, 0.9]))
    return rig


@given(st.integers(SCAN_ALL + 1, 40), st.sampled_from([0, 1, 3]), st.integers(0, 1 << 30), MOVES)
def test_drawing_grants_and_refuses_what_a_full_scan_would(
    keys: int, shared: int, seed: int, moves: list[tuple[str, int, int]]
) -> None:
    rig = many(Random(seed), keys, shared)
    router, open_ = rig.router, list[Lease]()
    for what, size, which in moves:
        if what == "advance":
            rig.clock.advance(size / 10)
        elif what == "stop":
            pool = sorted(rig.registry.pools.values(), key=lambda p: p.id)[which % len(rig.registry.pools)]
            pool.throttle(rig.clock.time, rig.clock.time + size, "stop")
            router._agenda.watch(pool)
        elif what == "settle" and open_:
            router.settle(open_.pop(which % len(open_)), Usage(output_tokens=which % 20))
        elif what == "release" and open_:
            router.release(open_.pop(which % len(open_)))
        else:
            router.refresh()
            request = ask(size - size // 3, size // 3)
            able = full_scan(rig, request)
            try:
                lease = router.acquire(request)
            except RoutingError:
                assert able == [], "refused although somebody could serve"
            else:
                assert lease.key_id in able, "granted what nobody had"
                open_.append(lease)
        in_order(roster_of(rig, ask()))


def in_order(roster: Roster) -> None:
    """The park is consistent: every stand is alive at its place, or parked with a time to come back."""
    for stratum in (s for tier in roster.tiers for s in tier):
        live = set(map(id, stratum.live))
        assert len(live) == len(stratum.live)
        assert [c for s in stratum.stands.values() for c in s.candidates if c.pools != s.pools] == []
        assert sum(len(s.candidates) for s in stratum.stands.values()) == len(stratum.candidates)
        assert stratum.asleep == sum(len(s.candidates) for s in stratum.stands.values() if s.parked)
        for stand in stratum.stands.values():
            assert stand.parked != (id(stand) in live)
            if stand.parked:
                assert any(stamp == stand.stamp and s is stand for _, stamp, s in stratum.heap)
            else:
                assert stratum.live[stand.place] is stand


# -- what a refusal tells --------------------------------------------------------------------------------------------


def crowd(limit: Limit, keys: int = 2 * SCAN_ALL) -> Rig:
    rig = Rig()
    for i in range(keys):
        rig.key(f"k{i}", [limit])
    return rig


def refused(rig: Rig, request: Request) -> QuotaExhaustedError:
    """The first refusal after as many grants as there are."""
    for _ in range(10_000):
        try:
            rig.router.acquire(request)
        except QuotaExhaustedError as error:
            return error
    raise AssertionError("nobody is ever refused")


@pytest.mark.parametrize("keys", [SCAN_ALL, SCAN_ALL + 1, 100])
def test_the_time_to_come_back_is_the_same_for_few_and_for_many(keys: int) -> None:
    rig = crowd(Limit.rpm(1), keys)
    for _ in range(3):
        assert refused(rig, ask()).retry_after == pytest.approx(60, abs=1e-3)
    rig.clock.advance(59)
    assert refused(rig, ask()).retry_after == pytest.approx(1, abs=1e-3)
    rig.clock.advance(1.001)
    assert rig.router.acquire(ask()).open


@pytest.mark.parametrize("keys", [SCAN_ALL, SCAN_ALL + 1])
def test_a_day_away_is_a_day_away(keys: int) -> None:
    rig = crowd(Limit(of="requests", amount=1, per="day", window="fixed"), keys)
    for _ in range(2):
        assert refused(rig, ask()).retry_after == pytest.approx(86_400)


@pytest.mark.parametrize("keys", [SCAN_ALL, SCAN_ALL + 1, 50])
def test_what_can_never_fit_is_told_as_such_however_often_it_is_asked(keys: int) -> None:
    rig = crowd(Limit.tpm(100), keys)
    for _ in range(3):
        error = refused(rig, ask(101))
        assert error.retry_after is None
        assert "can ever hold" in str(error)
    assert rig.router.acquire(ask(100)).open, "and it stands in nobody else's way"


@given(st.integers(SCAN_ALL + 1, 30), st.lists(st.integers(1, 100), min_size=1, max_size=40), st.integers(1, 100))
def test_after_the_time_told_there_is_room(keys: int, sizes: list[int], last: int) -> None:
    rig = crowd(Limit.tpm(100), keys)
    for size in sizes:
        try:
            rig.router.acquire(ask(size))
        except QuotaExhaustedError:
            break
    try:
        rig.router.acquire(ask(last))
    except QuotaExhaustedError as error:
        wait = error.retry_after
    else:
        return
    assert wait is not None
    rig.clock.advance(wait)
    assert rig.router.acquire(ask(last)).open


# -- bounds ----------------------------------------------------------------------------------------------------------


def test_what_is_remembered_of_refusals_stays_bounded() -> None:
    """Alternating sizes park and wake everybody again and again; nothing may pile up."""
    rig = crowd(Limit(of="tokens", amount=100, per="day", window="fixed"), 30)
    for _ in range(30):
        rig.router.acquire(ask(60))
    for _ in range(400):
        refused_once(rig, ask(90))
        rig.router.release(rig.router.acquire(ask(10)))
    stratum = roster_of(rig, ask()).tiers[0][0]
    assert len(stratum.heap) <= 4 * 30 + 32
    assert sum(map(len, stratum.sized.values())) <= 4 * 30 + 32


def refused_once(rig: Rig, request: Request) -> None:
    with pytest.raises(QuotaExhaustedError):
        rig.router.acquire(request)


def test_a_pool_that_frees_nothing_forgets_whom_it_refused() -> None:
    """Windows without holds never call back; candidates that park each minute must not be listed each time."""
    rig = crowd(Limit.rpm(1), 20)
    for _ in range(50):
        refused(rig, ask())
        rig.clock.advance(61)
    assert all(len(pool.parked) <= 1 for pool in rig.registry.pools.values())


def test_a_pool_of_two_frees_both() -> None:
    rig = Rig()
    for i in range(SCAN_ALL + 1):
        rig.key(f"k{i}", [Limit.concurrency(1)], pools=[f"own{i}", "shared"])
    rig.registry.add_pool("shared", (Limit.concurrency(1),), rig.clock.time)
    lease = rig.router.acquire(ask())
    refused_once(rig, ask())
    rig.router.release(lease)
    assert rig.router.acquire(ask()).open


def test_a_thousand_keys_of_one_pool_are_parked_and_woken_as_one() -> None:
    rig = Rig()
    rig.registry.add_pool("org", (Limit.concurrency(1),), rig.clock.time)
    for i in range(1_000):
        rig.key(f"k{i}", pools=["org"], weight=1.0 + i % 2)
    (stratum,) = roster_of(rig, ask()).tiers[0]
    used = set()
    for _ in range(50):
        lease = rig.router.acquire(ask())
        used.add(lease.key_id)
        assert len(lease.decision.scanned) == DRAW
        refused_once(rig, ask())
        assert (len(stratum.live), stratum.asleep, len(stratum.heap)) == (0, 1_000, 1)
        rig.router.release(lease)
        assert (len(stratum.live), stratum.asleep) == (1, 0)
        rig.router.refresh()
        stratum.wake(rig.clock.time + 1e6)
    assert len(used) > 40, "any of them may be drawn"


def test_few_refusals_are_kept_of_many_keys_without_money() -> None:
    rig = Rig(budgets=[Budget(scope="key:*", limit="0.000001", period="total")])
    rig.price("1")
    for i in range(500):
        rig.key(f"k{i}")
    with pytest.raises(RoutingError) as caught:
        rig.router.acquire(ask(100))
    assert len(caught.value.decision.rejected) <= 100  # type: ignore[attr-defined]
    assert "500" in str(caught.value.decision)


def test_a_small_request_among_many_large_ones_wakes_only_a_few() -> None:
    rig = crowd(Limit.tpm(100), 2_000)
    stratum = roster_of(rig, ask()).tiers[0][0]
    for _ in range(2_000):
        rig.router.acquire(ask(60))
    refused_once(rig, ask(90))
    assert len(stratum.live) == 0
    assert rig.router.acquire(ask(10)).open
    assert 0 < len(stratum.live) <= 8 * DRAW


def test_keys_with_tags_of_their_own_are_one_stratum_all_the_same() -> None:
    rig = Rig(objective={"constraints": {"tags": {"owner": "o7"}}})
    for i in range(200):
        rig.key(f"k{i}", [Limit.rpm(1)], tags={"owner": f"o{i}"})
    assert len(roster_of(rig, ask()).tiers[0]) == 1
    assert rig.router.acquire(ask()).key_id == "k7"
    with pytest.raises(RoutingError) as caught:
        rig.router.acquire(ask())
    text = str(caught.value.decision)
    assert "k7 would serve with 1 more free in requests/minute" in text
    assert "is not tagged owner=o7" in text


def test_drawn_keys_share_the_load() -> None:
    rig = crowd(Limit.rpm(10), 100)
    for _ in range(500):
        rig.router.acquire(ask())
    counts = [key.usage_count for key in rig.registry.keys.values()]
    assert sum(counts) == 500
    assert max(counts) <= 8
    assert min(counts) >= 2


def test_two_are_drawn_while_they_have_most_of_their_room_and_eight_when_it_is_scarce() -> None:
    rig = crowd(Limit.tpm(900), 100)
    assert len(rig.router.acquire(ask(300)).decision.scanned) == 2
    for pool in rig.registry.pools.values():
        pool.windows[0].level = 599.0
    for _ in range(10):
        assert len(rig.router.acquire(ask(1)).decision.scanned) == DRAW


def test_keys_of_different_weight_are_drawn_in_full() -> None:
    rig = Rig()
    for i in range(100):
        rig.key(f"k{i}", [Limit.rpm(1_000)], weight=1.0 + i % 2)
    assert len(rig.router.acquire(ask()).decision.scanned) == DRAW


def test_a_pool_with_a_bound_on_what_is_in_flight_is_not_taken_for_an_idle_one() -> None:
    rig = crowd(Limit.rpm(1_000), 100)
    for pool in rig.registry.pools.values():
        pool.probe()
    assert len(rig.router.acquire(ask()).decision.scanned) == DRAW


def test_a_stratum_that_loses_by_its_price_alone_is_not_drawn_from() -> None:
    rig = Rig(objective="cost")
    rig.price("1", model="m")
    rig.price("9", provider="q", model="m")
    for i in range(20):
        rig.key(f"p{i}", [Limit.rpm(100)], models=["m"])
        rig.key(f"q{i}", [Limit.rpm(100)], provider="q", models=["m"])
    decision = rig.router.acquire(ask(100)).decision
    assert {c.key.provider for c in decision.scanned} == {"p"}
    assert 1 <= len(decision.scanned) <= DRAW
    assert decision.total == 40


def test_opens_at_is_never_without_anybody_parked() -> None:
    rig = crowd(Limit.rpm(1), 20)
    assert all(s.opens_at == NEVER for tier in roster_of(rig, ask()).tiers for s in tier)
    assert isinstance(rig.registry.pools["k0"], Pool)
