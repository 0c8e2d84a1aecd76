"""Keys that share a quota although nobody said so: found by who the provider says they are, and by its numbers."""

from __future__ import annotations

import pytest
from rig import MODEL, Rig, ask

from apikeyrouter.core.discovery import split
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.model import TOKENS, Reading, Usage
from apikeyrouter.core.window import Limit
from apikeyrouter.events import PoolsShared

ORG = ("org-1", "")
LIMIT = 100_000


class Account:
    """What the provider would say: one quota behind all keys, in another unit of account than ours."""

    def __init__(self, rig: Rig, *, shared: bool = True) -> None:
        self.rig, self.shared = rig, shared
        self.used: dict[str, int] = {}
        self.told: list[PoolsShared] = []
        rig.router.announce.subscribe(PoolsShared, self.told.append)

    def left(self, key: str) -> int:
        return LIMIT - (sum(self.used.values()) if self.shared else self.used.get(key, 0))

    def served(self, key: str, tokens: int, identity: tuple[str, ...] = ORG) -> None:
        """One request by a key, answered with the quota's headers."""
        lease = self.rig.router.acquire(ask(tokens, among=frozenset({(key, MODEL)})))
        self.used[key] = self.used.get(key, 0) + tokens
        reading = Reading(TOKENS, LIMIT, self.left(key), None, 60.0)
        self.rig.router.settle(lease, Usage(input_tokens=tokens), readings=(reading,), identity=identity)

    def refused(self, key: str, tokens: int, owner: tuple[str, ...]) -> None:
        """A 429 whose sentence tells the level and the owner."""
        lease = self.rig.router.acquire(ask(tokens, among=frozenset({(key, MODEL)})))
        reading = Reading(TOKENS, LIMIT, self.left(key), None, 60.0)
        said = Failure(kind=Kind.RATE_LIMITED, status=429, retry_after=0.0, readings=(reading,), owner=owner)
        self.rig.router.fail(lease, said)


def two_keys(*, limit_b: int = LIMIT, shared: bool = True) -> tuple[Rig, Account]:
    rig = Rig()
    rig.key("a", [Limit.tpm(LIMIT)])
    rig.key("b", [Limit.tpm(limit_b)])
    return rig, Account(rig, shared=shared)


def test_two_keys_of_one_quota_are_found_and_counted_together() -> None:
    rig, account = two_keys()
    for _ in range(3):
        account.served("a", 5_000)
        account.served("b", 5_000)
    (found,) = account.told
    assert found.merged
    assert set(found.keys) == {"a", "b"}
    assert found.identity == ORG
    pools = rig.registry.pools
    assert pools["a"].windows is pools["b"].windows
    assert rig.registry.key("a").pools == rig.registry.key("b").pools
    account.served("a", 5_000)
    assert pools["b"].windows[0].free(rig.clock.time) == account.left("b") == LIMIT - 35_000


def test_two_quotas_of_one_organisation_stay_apart() -> None:
    """The same name, but the numbers do not see each other's charges: two projects with limits of their own."""
    rig, account = two_keys(shared=False)
    for _ in range(10):
        account.served("a", 5_000)
        account.served("b", 5_000)
    assert account.told == []
    assert rig.registry.pools["a"].windows is not rig.registry.pools["b"].windows


@pytest.mark.parametrize(
    ("limit_b", "identity_b"),
    [(LIMIT - 1, ORG), (LIMIT, ("org-2", "")), (LIMIT, ("org-1", "project-2")), (LIMIT, ())],
    ids=["other limits", "other organisation", "other project", "nobody named"],
)
def test_what_is_not_one_quota_is_not_merged(limit_b: int, identity_b: tuple[str, ...]) -> None:
    _, account = two_keys(limit_b=limit_b)
    for _ in range(5):
        account.served("a", 5_000)
        account.served("b", 5_000, identity_b)
    assert account.told == []


def test_a_refusal_that_names_the_organisation_tells_as_much_as_headers() -> None:
    rig, account = two_keys()
    account.served("a", 30_000, ())
    account.refused("a", 1_000, ("org-x",))
    for _ in range(3):
        rig.clock.advance(0.001)
        account.refused("b", 1_000, ("org-x",))
    (found,) = account.told
    assert found.merged
    assert found.identity == ("org-x",)
    assert rig.registry.pools["b"].windows[0].free(rig.clock.time) <= account.left("b") + 2_000


def test_declared_pools_are_told_about_once_and_never_merged() -> None:
    rig = Rig()
    rig.key("a", [Limit.tpm(LIMIT)], pools=["one"])
    rig.key("b", [Limit.tpm(LIMIT)], pools=["two"])
    rig.registry.declared.update({"one", "two"})
    account = Account(rig)
    for _ in range(5):
        account.served("a", 5_000)
        account.served("b", 5_000)
    (found,) = account.told
    assert not found.merged
    assert (found.pool, found.other) == ("two", "one")
    assert rig.registry.pools["one"].windows is not rig.registry.pools["two"].windows


def test_a_merge_can_be_undone() -> None:
    rig, account = two_keys()
    for _ in range(3):
        account.served("a", 5_000)
        account.served("b", 5_000)
    (found,) = account.told
    gone = rig.registry.pools[found.pool]
    split(rig.registry, gone, [found.pool], rig.clock.time)
    pools = rig.registry.pools
    assert pools["a"].windows is not pools["b"].windows
    assert rig.registry.key(found.pool).pools == (found.pool,)
    assert pools["a"].windows[0].free(rig.clock.time) == pools["b"].windows[0].free(rig.clock.time)
