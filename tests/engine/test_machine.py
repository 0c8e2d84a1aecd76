"""The router under any sequence of events, judged by the exact reference of tests/support/reference.py.

A state machine looks for the shortest sequence that breaks it; random walks go deep into saturation, where a search for
short sequences rarely comes.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from reference import POOLS, Charge, World

from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.key import Trigger

STEPS_S = [0.0, 0.001, 1.0, 10.0, 45.0, 61.0, 95.0, 3_700.0, -5.0, -100.0]
WAITS_S = [0.0, 0.0, 2.0, None, 7_200.0]
TENANTS = [None, "a", "b"]
TRIGGERS = [Trigger.ENABLED_BY_HAND, Trigger.DISABLED_BY_HAND, Trigger.AUTHENTICATION_FAILED]


class RouterMachine(RuleBasedStateMachine):
    @initialize(
        names=st.lists(st.sampled_from(sorted(POOLS)), min_size=1, max_size=2, unique=True),
        tenant_limit=st.sampled_from(["0.005", "1"]),
        seed=st.integers(0, 1 << 30),
    )
    def build(self, names: list[str], tenant_limit: str, seed: int) -> None:
        self.world = World(names, tenant_limit=tenant_limit, seed=seed)

    @rule(
        tokens=st.integers(0, 900),
        output=st.integers(0, 500),
        tenant=st.sampled_from(TENANTS),
        times=st.sampled_from([1, 2, 30]),
    )
    def acquire(self, tokens: int, output: int, tenant: str | None, times: int) -> None:
        """One request, or as many alike as there is room for."""
        for _ in range(times):
            if not self.world.acquire(tokens, output, tenant):
                return

    @precondition(lambda self: self.world.open)
    @rule(data=st.data(), share=st.floats(0, 1), more=st.sampled_from([0, 0, 0, 50]))
    def settle(self, data: st.DataObject, share: float, more: int) -> None:
        charge = self.any_open(data)
        self.world.settle(charge, share, more)
        self.world.end_again(charge)

    @precondition(lambda self: self.world.open)
    @rule(data=st.data())
    def settle_unknown(self, data: st.DataObject) -> None:
        self.world.settle_unknown(self.any_open(data))

    @precondition(lambda self: self.world.open)
    @rule(
        data=st.data(),
        kind=st.sampled_from(list(Kind)),
        billed=st.booleans(),
        sent=st.sampled_from([True, True, False]),
        wait=st.sampled_from(WAITS_S),
    )
    def fail(self, data: st.DataObject, kind: Kind, billed: bool, sent: bool, wait: float | None) -> None:
        self.world.fail(self.any_open(data), Failure(kind=kind, billed=billed, sent=sent, retry_after=wait))

    @precondition(lambda self: self.world.open)
    @rule(data=st.data(), verb=st.sampled_from(["release", "abandon"]))
    def give_up(self, data: st.DataObject, verb: str) -> None:
        charge = self.any_open(data)
        if verb == "release":
            self.world.release(charge)
        else:
            self.world.abandon(charge)

    @rule(seconds=st.sampled_from(STEPS_S))
    def advance(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule()
    def keep_house(self) -> None:
        self.world.keep_house()

    @rule(data=st.data())
    def register(self, data: st.DataObject) -> None:
        self.world.register(data.draw(st.sampled_from(self.world.names)))

    @precondition(lambda self: self.world.registry.keys)
    @rule(data=st.data(), verb=st.sampled_from(["rotate", "revoke", *TRIGGERS]))
    def manage(self, data: st.DataObject, verb: str) -> None:
        manage(self.world, data.draw(st.sampled_from(sorted(self.world.registry.keys))), verb)

    def any_open(self, data: st.DataObject) -> Charge:
        return self.world.open[data.draw(st.integers(0, len(self.world.open) - 1))]

    @invariant()
    def what_is_always_true(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.close()


def manage(world: World, name: str, verb: str) -> None:
    if verb == "rotate":
        world.rotate(name)
    elif verb == "revoke":
        world.revoke(name)
    else:
        world.move(name, Trigger(verb))


TestRouterMachine = RouterMachine.TestCase
TestRouterMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


# -- walks -----------------------------------------------------------------------------------------------------------

LONG = {Kind.NO_MONEY, Kind.QUOTA_EXHAUSTED, Kind.NOT_ON_PLAN, Kind.FORBIDDEN, Kind.MODEL_NOT_FOUND}
SHORT = [kind for kind in Kind if kind not in LONG]
"""Failures after which a walk goes on within seconds."""


def step(world: World, rng: Random) -> None:
    what = rng.random()
    if not any(key.usable for key in world.registry.keys.values()):
        world.register(rng.choice(world.names))
    if what < 0.30:
        size = rng.choice([0, 10, 100, 700])
        for _ in range(rng.choice([1, 2, 30])):
            if not world.acquire(rng.randint(0, size), rng.randint(0, size // 2), rng.choice(TENANTS)):
                break
    elif what < 0.55 or not world.open:
        world.advance(rng.choice([0.0, 0.05, 0.4, 3.0, 20.0, 61.0, -1.0, -30.0]))
    elif what < 0.96:
        end(world, rng.choice(world.open), rng)
    else:
        people(world, rng)


def end(world: World, charge: Charge, rng: Random) -> None:
    what = rng.random()
    if what < 0.3:
        world.settle(charge, rng.random(), rng.choice([0, 0, 0, 0, 40]))
    elif what < 0.4:
        world.settle_unknown(charge)
    elif what < 0.6:
        world.release(charge)
    elif what < 0.7:
        world.abandon(charge)
    elif what < 0.8:
        world.fail(charge, Failure(kind=Kind.RATE_LIMITED, retry_after=rng.choice([0.0, 0.3, 5.0])))
    elif what < 0.9:
        world.fail(charge, Failure(kind=Kind.INVALID, billed=rng.random() < 0.3))
    else:
        world.fail(charge, Failure(kind=rng.choice(SHORT), sent=rng.random() < 0.7, retry_after=1.0))
    world.end_again(charge)


def people(world: World, rng: Random) -> None:
    manage(world, rng.choice(sorted(world.registry.keys)), rng.choice(["rotate", "revoke", *TRIGGERS]))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", sorted(POOLS))
def test_a_long_walk_breaks_no_law(name: str, seed: int) -> None:
    rng = Random(f"{name} {seed}")
    world = World([name], seed=seed, tenant_limit=rng.choice(["0.005", "1"]))
    for _ in range(400):
        step(world, rng)
        world.check()
    world.close()
    assert len(world.charges) > 40, "a walk that is refused everything proves nothing"
