"""Who may serve which name: the rules of models, aliases, globs, prices, tenants, operations and blocks."""

from __future__ import annotations

import pytest
from rig import MODEL, Rig, ask

from apikeyrouter.core.key import Key, Trigger
from apikeyrouter.core.model import Capabilities
from apikeyrouter.core.registry import Provider
from apikeyrouter.core.window import Limit
from apikeyrouter.errors import (
    InvalidConfigurationError,
    KeyAlreadyExistsError,
    KeyNotFoundError,
    NoEligibleKeysError,
    ProviderNotFoundError,
)


def served(rig: Rig, model: str, **more: object) -> list[str]:
    """Candidates as key/provider's model name."""
    request = ask(1, model=model, **more)
    roster = rig.registry.roster(
        request.model, request.provider, request.operation, request.needs, request.tenant, rig.clock.time
    )
    return sorted(f"{c.key.id} {c.deployment.provider}/{c.deployment.model}" for c in roster.candidates)


def world() -> Rig:
    """Two providers with prices, keys with globs and without, one alias."""
    rig = Rig()
    rig.price("1", provider="p", model="m")
    rig.price("1", provider="p", model="both")
    rig.price("1", provider="q", model="both")
    rig.key("p-any", provider="p")
    rig.key("p-some", provider="p", models=["m*", "x-?"])
    rig.key("q-any", provider="q")
    rig.registry.aliases["fast"] = (("q", "n-mini"), ("p", "m"))
    rig.registry.aliases["m"] = (("p", "m"),)
    rig.registry.changed()
    return rig


@pytest.mark.parametrize(
    ("model", "keys"),
    [
        ("p/anything", ["p-any p/anything"]),
        ("p/m", ["p-any p/m", "p-some p/m"]),
        ("p/x-1", ["p-any p/x-1", "p-some p/x-1"]),
        ("p/x-12", ["p-any p/x-12"]),
        ("p/a/b", ["p-any p/a/b"]),
        ("fast", ["p-any p/m", "p-some p/m", "q-any q/n-mini"]),
        ("m", ["p-any p/m", "p-some p/m"]),
        ("both", ["p-any p/both", "q-any q/both"]),
        ("mm", ["p-some p/mm"]),
        ("unheard-of", []),
        ("elsewhere/m", []),
        ("p", []),
    ],
)
def test_what_a_name_stands_for(model: str, keys: list[str]) -> None:
    assert served(world(), model) == keys


def test_a_provider_named_apart_pins_like_a_prefix() -> None:
    rig = world()
    assert served(rig, "anything", provider="p") == served(rig, "p/anything") == ["p-any p/anything"]
    assert served(rig, "p/anything", provider="p") == ["p-any p/anything"]
    assert served(rig, "fast", provider="p") == ["p-any p/fast"], "an alias is not looked up behind a pin"


def test_the_only_provider_takes_any_model() -> None:
    rig = Rig()
    rig.key("any")
    rig.key("some", models=["gpt-*"])
    assert served(rig, "unheard-of") == ["any p/unheard-of"]
    assert served(rig, "gpt-9") == ["any p/gpt-9", "some p/gpt-9"]


def test_globs_know_case_and_classes() -> None:
    rig = Rig()
    rig.key("k", models=["[ab]-*"])
    assert served(rig, "a-1")
    assert not served(rig, "A-1")
    assert not served(rig, "c-1")


def test_an_alias_wins_over_a_pin_of_the_same_spelling() -> None:
    rig = world()
    rig.registry.aliases["p/m"] = (("q", "other"),)
    rig.registry.changed()
    assert served(rig, "p/m") == ["q-any q/other"]


def test_an_alias_may_name_who_is_not_there_yet() -> None:
    rig = Rig()
    rig.key("k")
    rig.registry.aliases["fast"] = (("later", "m"), ("p", "m"))
    rig.registry.changed()
    assert served(rig, "fast") == ["k p/m"]


def test_a_provider_that_is_not_there_is_an_error_when_pinned_apart() -> None:
    with pytest.raises(ProviderNotFoundError, match="known: p, q"):
        served(world(), "m", provider="r")


# -- tenants ---------------------------------------------------------------------------------------------------------


OPEN = ["open p/m"]


@pytest.mark.parametrize(
    ("tenant", "keys"), [(None, OPEN), ("acme", ["acme p/m", *OPEN]), ("evil", OPEN), ("", OPEN), ("ACME", OPEN)]
)
def test_a_tenants_key_serves_nobody_else(tenant: str | None, keys: list[str]) -> None:
    rig = Rig()
    rig.key("open")
    rig.key("acme", tags={"tenant": "acme"})
    assert served(rig, MODEL, tenant=tenant) == keys


def test_a_roster_of_one_tenant_is_not_kept_for_another() -> None:
    rig = Rig()
    rig.key("open")
    assert served(rig, MODEL, tenant="evil") == ["open p/m"]
    rig.key("acme", tags={"tenant": "acme"})
    assert served(rig, MODEL, tenant="acme") == ["acme p/m", "open p/m"]
    assert served(rig, MODEL, tenant="evil") == ["open p/m"]
    rig.registry.remove_key("acme")
    assert served(rig, MODEL, tenant="acme") == ["open p/m"]


# -- operations and capabilities ------------------------------------------------------------------------------------


def test_what_a_provider_cannot_do_is_not_asked_of_it() -> None:
    rig = Rig()
    rig.provider("p", Capabilities(operations=frozenset({"chat"}), features=frozenset({"tools"})))
    rig.provider("q", Capabilities(operations=frozenset({"chat", "embeddings"})))
    rig.key("p1", provider="p", models=["*"])
    rig.key("q1", provider="q", models=["*"])
    assert served(rig, "m") == ["p1 p/m", "q1 q/m"]
    assert served(rig, "m", operation="embeddings") == ["q1 q/m"]
    assert served(rig, "m", needs=frozenset({"tools"})) == ["p1 p/m"]
    assert served(rig, "m", needs=frozenset({"tools", "images"})) == []


# -- blocks ----------------------------------------------------------------------------------------------------------


def test_a_block_keeps_one_key_from_one_model_for_a_while() -> None:
    rig = Rig()
    rig.key("a")
    rig.key("b")
    rig.registry.block("a", "p", "m", rig.clock.time + 60, "not on the plan")
    assert served(rig, "m") == ["b p/m"]
    assert served(rig, "n") == ["a p/n", "b p/n"]
    rig.clock.advance(59.9)
    assert served(rig, "m") == ["b p/m"]
    rig.clock.advance(0.2)
    assert served(rig, "m") == ["a p/m", "b p/m"]
    assert not rig.registry.blocked


def test_the_first_of_several_blocks_to_end_is_noticed() -> None:
    rig = Rig()
    for name, seconds in (("a", 60), ("b", 30), ("c", 90)):
        rig.key(name)
        rig.registry.block(name, "p", "m", rig.clock.time + seconds, "x")
    assert served(rig, "m") == []
    seen = []
    for _ in range(3):
        rig.clock.advance(30)
        seen.append(served(rig, "m"))
    assert seen == [["b p/m"], ["a p/m", "b p/m"], ["a p/m", "b p/m", "c p/m"]]


# -- keys ------------------------------------------------------------------------------------------------------------


def test_the_same_material_registers_once() -> None:
    rig = Rig()
    first = rig.key("a")
    rig.registry.rename_material(first, "f1")
    second = Key("b", "p", now=0.0, fingerprint="f1")
    with pytest.raises(KeyAlreadyExistsError, match="material of key 'b' is already registered as key 'a'"):
        rig.registry.add_key(second)
    rig.registry.rename_material(first, "f2")
    rig.registry.add_key(second)
    with pytest.raises(KeyAlreadyExistsError, match="'a'"):
        rig.registry.rename_material(second, "f2")


def test_a_rotation_to_the_same_material_is_a_new_version_all_the_same() -> None:
    rig = Rig()
    key = rig.key("a")
    rig.registry.rename_material(key, "f1")
    rig.registry.rename_material(key, "f1")
    assert key.version == 3


def test_an_id_is_free_again_when_its_key_is_gone() -> None:
    rig = Rig()
    rig.key("a")
    with pytest.raises(KeyAlreadyExistsError, match="'a' is already registered"):
        rig.registry.add_key(Key("a", "p", now=0.0))
    gone = rig.registry.remove_key("a")
    assert gone.removed
    with pytest.raises(KeyNotFoundError, match="No key is called 'a'"):
        rig.registry.key("a")
    rig.key("a")
    assert served(rig, "m") == ["a p/m"]


def test_a_key_needs_its_provider() -> None:
    with pytest.raises(ProviderNotFoundError, match=r"names provider 'q'.*known: none yet"):
        Rig().registry.add_key(Key("a", "q", now=0.0))


def test_a_key_that_cannot_speak_is_left_out_at_once() -> None:
    rig = Rig()
    key = rig.key("a")
    assert rig.router.acquire(ask(1)).key_id == "a"
    key.apply(Trigger.DISABLED_BY_HAND, rig.clock.time)
    rig.registry.changed()
    with pytest.raises(NoEligibleKeysError):
        rig.router.acquire(ask(1))


# -- pools -----------------------------------------------------------------------------------------------------------


def test_a_pool_is_declared_once() -> None:
    rig = Rig()
    limits = (Limit.rpm(5), Limit.tpm(100))
    rig.registry.add_pool("org", limits, 0.0)
    pool = rig.registry.pools["org"]
    for again in (limits, ()):
        rig.registry.add_pool("org", again, 0.0)
        assert rig.registry.pools["org"] is pool
    with pytest.raises(InvalidConfigurationError, match="'org' already has other limits"):
        rig.registry.add_pool("org", (Limit.rpm(6),), 0.0)


def test_a_pool_without_limits_may_get_them_later() -> None:
    rig = Rig()
    rig.registry.add_pool("org", (), 0.0)
    rig.registry.add_pool("org", (Limit.rpm(5),), 0.0)
    assert len(rig.registry.pools["org"].windows) == 1


def test_limits_of_some_models_do_not_touch_others() -> None:
    rig = Rig()
    rig.key("k", [Limit.rpm(2), Limit(of="requests", amount=1, models=("big*",))])
    assert [p.id for p in rig.registry.pools_of(rig.registry.key("k"), "big-1")] == ["k", "k[big*]"]
    assert [p.id for p in rig.registry.pools_of(rig.registry.key("k"), "small")] == ["k"]
    assert rig.router.acquire(ask(1, model="big-1")).open
    with pytest.raises(Exception, match=r"k\[big\*\] requests/minute"):
        rig.router.acquire(ask(1, model="big-2"))
    assert rig.router.acquire(ask(1, model="small")).open


def test_a_key_draws_from_all_its_pools() -> None:
    rig = Rig()
    rig.key("a", [Limit.rpm(10)], pools=["own-a", "org"])
    rig.registry.add_pool("org", (Limit.rpm(3),), rig.clock.time)
    rig.key("b", [Limit.rpm(10)], pools=["own-b", "org"])
    for _ in range(3):
        rig.router.acquire(ask(1))
    with pytest.raises(Exception, match="org requests/minute"):
        rig.router.acquire(ask(1))


# -- what is remembered ----------------------------------------------------------------------------------------------


def test_rosters_are_kept_until_something_changes() -> None:
    rig = Rig()
    rig.key("a")

    def roster() -> object:
        return rig.registry.roster("m", None, "chat", frozenset(), None, rig.clock.time)

    first = roster()
    assert roster() is first
    rig.key("b")
    assert roster() is not first


def test_names_that_callers_invent_are_not_kept_without_bound() -> None:
    rig = Rig()
    rig.key("a")
    for i in range(1_500):
        rig.router.release(rig.router.acquire(ask(1, model=f"m{i}")))
    assert len(rig.registry.rosters) <= 1_024
    rig.registry.deployments.update({("p", f"x{i}"): rig.registry.deployment("p", "m0", 0.0) for i in range(9_000)})
    rig.registry.deployment("p", "new", 0.0)
    assert len(rig.registry.deployments) <= 10_000


def test_what_is_learned_of_a_model_outlives_a_change_of_keys() -> None:
    rig = Rig()
    rig.key("a")
    learned = rig.registry.deployment("p", "m", 0.0)
    rig.key("b")
    assert rig.registry.deployment("p", "m", 0.0) is learned
    rig.registry.add_provider(Provider("p"))
    assert rig.registry.deployment("p", "m", 0.0) is not learned, "another adapter, another experience"
