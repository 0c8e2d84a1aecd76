"""Every move a key or a pool may make, and every one it may not."""

from __future__ import annotations

import pytest

from apikeyrouter.core.key import MOVES, RANK, Key, State, Trigger, after
from apikeyrouter.errors import InvalidStateTransitionError

A, T, E, R, D = State.AVAILABLE, State.THROTTLED, State.EXHAUSTED, State.RECOVERING, State.DISABLED
X = State.INVALID

LEGAL = {
    (None, Trigger.REGISTRATION): A,
    (A, Trigger.RATE_LIMIT): T,
    (T, Trigger.COOLDOWN_OVER): A,
    (T, Trigger.SUPERSEDED): A,
    (A, Trigger.QUOTA_EXHAUSTED): E,
    (E, Trigger.RESET_NEAR): R,
    (R, Trigger.RESET): A,
    (R, Trigger.QUOTA_EXHAUSTED): E,
    (D, Trigger.ENABLED_BY_HAND): A,
    (X, Trigger.ROTATION): A,
    **dict.fromkeys([(s, Trigger.DISABLED_BY_HAND) for s in (A, T, E, R, D, X)], D),
    **dict.fromkeys([(s, Trigger.AUTHENTICATION_FAILED) for s in (A, T, E, R, D, X)], X),
    **{(s, Trigger.ROTATION): s for s in (A, T, E, R, D)},
}
"""Written out by hand from the requirements, so that the table in core/key.py has something to be compared with."""

ALL = [(state, trigger) for state in (None, *State) for trigger in Trigger]
ILLEGAL = [move for move in ALL if move not in LEGAL]


def test_the_table_has_every_legal_move_and_no_other() -> None:
    assert dict(MOVES) == LEGAL
    assert len(ILLEGAL) + len(LEGAL) == len(ALL) == 77


@pytest.mark.parametrize(("state", "trigger"), LEGAL)
def test_a_legal_move_leads_where_it_should(state: State | None, trigger: Trigger) -> None:
    assert after("key", "k", state, trigger) is LEGAL[state, trigger]


@pytest.mark.parametrize(("state", "trigger"), ILLEGAL)
def test_an_illegal_move_is_refused_with_what_is_legal(state: State | None, trigger: Trigger) -> None:
    with pytest.raises(InvalidStateTransitionError) as caught:
        after("key", "k", state, trigger)
    assert caught.value.details == {"entity": "key", "id": "k", "state": str(state), "trigger": str(trigger)}
    for allowed in (t for s, t in LEGAL if s == state):
        assert str(allowed) in str(caught.value)


def test_an_illegal_move_changes_nothing() -> None:
    key = Key("k", "p", now=5.0)
    with pytest.raises(InvalidStateTransitionError):
        key.apply(Trigger.ENABLED_BY_HAND, 9.0)
    assert (key.state, key.state_updated_at) == (A, 5.0)


def test_a_move_is_a_fact_for_the_audit() -> None:
    key = Key("k", "p", now=5.0)
    fact = key.apply(Trigger.DISABLED_BY_HAND, 9.0, context="leaked", actor="ann")
    assert (fact.entity, fact.id, fact.before, fact.after, fact.at) == ("key", "k", A, D, 9.0)
    assert (fact.trigger, fact.context, fact.actor) == (Trigger.DISABLED_BY_HAND, "leaked", "ann")
    assert key.state_updated_at == 9.0
    assert not key.usable


def test_only_another_material_ends_that_a_key_was_refused() -> None:
    key = Key("k", "p", now=0.0)
    key.apply(Trigger.AUTHENTICATION_FAILED, 1.0)
    key.apply(Trigger.DISABLED_BY_HAND, 2.0)
    fact = key.apply(Trigger.ENABLED_BY_HAND, 3.0, context="all of them", actor="ann")
    assert (key.state, fact.before, fact.after, fact.trigger) == (X, D, X, Trigger.AUTHENTICATION_FAILED)
    assert "rotate the key; all of them" in fact.context
    key.apply(Trigger.DISABLED_BY_HAND, 4.0)
    key.apply(Trigger.ROTATION, 5.0)
    assert key.state is D, "it stays disabled until somebody enables it"
    key.apply(Trigger.ENABLED_BY_HAND, 6.0)
    assert key.usable


def test_registration_is_the_first_fact() -> None:
    fact = Key("k", "p", now=5.0).registered
    assert (fact.before, fact.after, fact.at, fact.trigger) == (None, A, 5.0, Trigger.REGISTRATION)


@pytest.mark.parametrize("own", [D, X])
def test_a_keys_own_trouble_hides_its_pools(own: State) -> None:
    key = Key("k", "p", now=0.0)
    key.state = own
    assert key.shown([A, T]) is own


@pytest.mark.parametrize(
    ("pools", "shown"),
    [((), A), ((E,), E), ((E, T), T), ((E, T, R), R), ((E, T, R, A), A)],
)
def test_a_key_shows_the_best_of_its_pools(pools: tuple[State, ...], shown: State) -> None:
    assert Key("k", "p", now=0.0).shown(pools) is shown


def test_every_state_of_a_pool_has_a_rank() -> None:
    reachable = {A}
    while more := {to for (s, t), to in LEGAL.items() if s in reachable and to not in reachable and t not in OWN}:
        reachable |= more
    assert reachable == set(RANK)


OWN = {Trigger.DISABLED_BY_HAND, Trigger.AUTHENTICATION_FAILED}


def test_a_removed_key_is_not_usable() -> None:
    key = Key("k", "p", now=0.0)
    key.removed = True
    assert not key.usable
    assert "k p available v1" in repr(key)
