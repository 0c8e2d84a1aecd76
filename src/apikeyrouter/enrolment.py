"""Who takes part: providers, keys and aliases added, changed and taken out, each under the router's lock.

Nothing here waits: in memory registration is immediate, and requests in flight keep the material they were given.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Final, TypedDict, cast

from apikeyrouter.checks import (
    Rule,
    Rules,
    check,
    is_name,
    is_number,
    is_table,
    is_tags,
    is_text,
    is_texts,
    is_whole,
    named,
)
from apikeyrouter.core.budget import Budget
from apikeyrouter.core.health import Probe
from apikeyrouter.core.key import Key, Trigger
from apikeyrouter.core.model import NO_TAGS
from apikeyrouter.core.price import Price
from apikeyrouter.core.registry import Provider
from apikeyrouter.core.roster import release
from apikeyrouter.core.scrub import scrub
from apikeyrouter.core.window import Limit
from apikeyrouter.credentials import Secret
from apikeyrouter.errors import InvalidConfigurationError, KeyNotFoundError, ProviderNotFoundError
from apikeyrouter.ports import Adapter
from apikeyrouter.router import Router

if TYPE_CHECKING:
    from apikeyrouter.probing import Prober

KEY_ID: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
PROVIDER_ID: Final = re.compile(r"[a-z0-9_-]+")
_ADAPTERS: Final[Mapping[str, str]] = {
    "openai": "OpenAIAdapter",
    "anthropic": "AnthropicAdapter",
    "gemini": "GeminiAdapter",
}


class KeyOptions(TypedDict, total=False):
    """Keyword arguments of register_key(). `models` are globs, `tier` lower first, `quality` from 0 to 1."""

    id: str | None
    pool: str | Sequence[str] | None
    limits: Sequence[Limit]
    caps: Sequence[Limit]
    models: Sequence[str]
    tags: Mapping[str, str]
    metadata: Mapping[str, object] | None
    tier: int
    weight: float
    quality: float
    label: str


class Enrolment:
    """The registration verbs over one router."""

    def __init__(self, router: Router, adapters: dict[str, Adapter]) -> None:
        self.router = router
        self.adapters = adapters
        self.retired: list[Adapter] = []
        self.probes: dict[str, Probe] = {}
        self._prober: Prober | None = None
        self._salt = os.urandom(16)

    def add_provider(
        self,
        name: str,
        adapter: Adapter | str,
        *,
        price_name: str | None = None,
        metadata: Mapping[str, object] | None = None,
        probe: Probe | None = None,
    ) -> None:
        """Make a provider known; registering it again replaces its adapter."""
        named(name, "A provider's id", InvalidConfigurationError)
        if not PROVIDER_ID.fullmatch(name):
            raise InvalidConfigurationError(f"Provider id '{scrub(name)}' does not match [a-z0-9_-]+; rename it.")
        if isinstance(adapter, str):
            price_name = price_name or adapter
            adapter = _adapter(adapter)
        with self.router.lock:
            before = self.adapters.get(name)
            if before is not None and before is not adapter:
                self.retired.append(before)
            self.enter(name, adapter, price_name or name, metadata, probe=probe)

    def enter(
        self,
        name: str,
        adapter: Adapter,
        price_name: str,
        metadata: Mapping[str, object] | None = None,
        *,
        probe: Probe | None = None,
    ) -> None:
        """`add_provider` for who holds the router's lock already."""
        self.probes.pop(name, None)
        if probe is not None:
            self.probes[name] = probe
        prices = _per_request(name, adapter)
        self.adapters[name] = adapter
        self.router.registry.add_provider(
            Provider(name, adapter.capabilities, price_name, prices, dict(metadata or {}))
        )

    def price(self, provider: str, model: str, price: Price) -> None:
        """Price the models that match the glob `model` by hand, for every provider of the price name `provider`."""
        with self.router.lock:
            self.router.registry.reprice(provider, model, price)

    def add_budget(self, budget: Budget) -> None:
        """Put a budget in force beside the others; of the same id, in its place. What was spent stays counted."""
        router = self.router
        with router.lock:
            others = tuple(known for known in router.budgets.budgets if known.name != budget.name)
            router.budgets.replace((*others, budget), router.now())
            router.registry.changed()

    def add_key(self, secret: str | Secret | None, provider: str, options: KeyOptions) -> Key:
        """Make a key known, with its pools. Without a secret whoever sends has the material, as a gateway does."""
        with self.router.lock:
            key = self.enrol(secret, provider, options)
        self.woken()
        return key

    def enrol(self, secret: str | Secret | None, provider: str, options: KeyOptions) -> Key:
        """`add_key` for who holds the router's lock already and wakes the waiters afterwards."""
        router, registry = self.router, self.router.registry
        name = _checked(options)
        material = Secret(secret, name=f"key '{name}'") if isinstance(secret, str) else secret
        if material is not None and material.reveal() == name:
            raise InvalidConfigurationError(
                "The id of a key is its own secret, which would be shown; name it otherwise."
            )
        pool, caps = options.get("pool"), tuple(options.get("caps", ()))
        pools = (pool,) if isinstance(pool, str) else tuple(dict.fromkeys(pool or (name,)))
        own = (f"{name}/caps",) if caps else ()
        fingerprint = "" if material is None else self.fingerprint(material)
        key = _key(name, provider, own + pools, options, fingerprint, router.now())
        registry.check_new(key)
        extra = operation_limits(self.adapters.get(provider))
        limits = tuple(options.get("limits", ()))
        if pool:
            self._join(pools, limits, extra, key.created_at)
        else:
            registry.own_pool(name, joined(limits, extra), key.created_at)
        if own:
            registry.own_pool(own[0], caps, key.created_at)
        registry.add_key(key)
        if "rate_limit" in self.adapters[provider].capabilities.features:
            registry.probe_unknown(key)
        if material is not None:
            router.secrets[name] = material
        router.note([key.registered])
        return key

    def _join(self, pools: tuple[str, ...], limits: tuple[Limit, ...], extra: tuple[Limit, ...], now: float) -> None:
        """Declare the pools a key draws from; the last, its account's, has its operations' own limits too."""
        registry = self.router.registry
        stated = tuple(limit for limit in registry.pool_limits.get(pools[0], ()) if limit not in extra)
        registry.add_pool(pools[0], () if limits == stated else limits, now)
        for part in pools[1:]:
            registry.add_pool(part, (), now)
        known = registry.pool_limits[pools[-1]]
        if joined(known, extra) != known:
            registry.change_pool(pools[-1], joined(known, extra), now)

    def fingerprint(self, material: Secret) -> str:
        """What names a material in this router."""
        return material.fingerprint(self._salt)

    def add_pool(self, name: str, limits: Sequence[Limit]) -> None:
        """Declare a pool before its keys."""
        with self.router.lock:
            self.router.registry.add_pool(name, tuple(limits), self.router.now())
            self.router.registry.declared.add(name)

    def reset_quota(self, name: str, window: str | None) -> None:
        """Fill a pool's windows and end its stop."""
        router = self.router
        with router.lock:
            pool = router.registry.pools.get(name)
            if pool is None:
                known = ", ".join(sorted(router.registry.pools)[:10]) or "none yet"
                raise KeyNotFoundError(f"No pool is called '{name}'; there are {known}.")
            found = [w for w in pool.windows if window in (None, w.name)]
            if window is not None and not found:
                names = ", ".join(w.name for w in pool.windows) or "none"
                raise KeyNotFoundError(f"Pool '{name}' has no window '{window}'; its windows are {names}.")
            now = router.now()
            for w in found:
                w.refill(now)
            if window is None:
                router.note(pool.reopen(now))
            release(pool)
        self.woken()

    def rotate(self, name: str, secret: str | Secret) -> Key:
        material = secret if isinstance(secret, Secret) else Secret(secret, name=f"key '{name}'")
        router = self.router
        with router.lock:
            key = router.registry.key(name)
            router.registry.rename_material(key, self.fingerprint(material))
            router.secrets[name] = material
            router.note([key.apply(Trigger.ROTATION, router.now(), actor="user")])
        self.woken()
        return key

    def revoke(self, name: str) -> None:
        with self.router.lock:
            self.router.registry.remove_key(name)
            self.router.secrets.pop(name, None)
        self.woken()

    def move(self, name: str, trigger: Trigger, reason: str) -> Key:
        router = self.router
        with router.lock:
            key = router.registry.key(name)
            router.note([key.apply(trigger, router.now(), context=reason, actor="user")])
            router.registry.changed()
        self.woken()
        return key

    def add_alias(self, name: str, targets: Sequence[str]) -> None:
        """Let `name` stand for several "provider/model" names; failover and comparison work across them."""
        found = tuple(_target(t, name) for t in targets)
        with self.router.lock:
            self.router.registry.aliases[name] = found
            self.router.registry.changed()

    def watch(self) -> None:
        """Have providers with a probe asked how they are, in the running loop; one that has ended is succeeded."""
        if not self.probes:
            return
        if self._prober is None:
            from apikeyrouter.probing import Prober  # asyncio only for those who probe

            self._prober = Prober(self.router, self.adapters, self.probes)
        self._prober.start()

    async def aclose(self) -> None:
        """Stop asking, and close the connections of every adapter."""
        if self._prober is not None:
            await self._prober.aclose()
        for adapter in (*self.adapters.values(), *self.retired):
            await adapter.aclose()

    def woken(self) -> None:
        """Tell what was noted, and have waiting requests look again."""
        self.router.announce.flush()
        if self.router.waker is not None:
            self.router.waker()


def _key(name: str, provider: str, pools: tuple[str, ...], options: KeyOptions, fingerprint: str, now: float) -> Key:
    key = Key(
        name,
        provider,
        now=now,
        pools=pools,
        models=options.get("models", ()),
        tags=options.get("tags", NO_TAGS),
        metadata=options.get("metadata"),
        tier=options.get("tier", 0),
        weight=options.get("weight", 1.0),
        label=options.get("label", ""),
        fingerprint=fingerprint,
    )
    key.quality = options.get("quality", 0.5)
    return key


def _is_limits(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(limit, Limit) for limit in value)


def _is_pools(value: object) -> bool:
    return is_name(value) or (is_texts(value) and bool(value))


_LIMITS: Final = Rule(_is_limits, "a list such as [Limit.rpm(500), Limit.tpm(200_000)]")
_OPTIONS: Final[Rules] = {
    "id": Rule(is_name, "a text such as 'openai-a1'"),
    "pool": Rule(_is_pools, "the name of a pool, or a list of names"),
    "limits": _LIMITS,
    "caps": _LIMITS,
    "models": Rule(is_texts, "a list such as ['gpt-4o*']"),
    "tags": Rule(is_tags, "a mapping of texts such as {'region': 'eu'}"),
    "metadata": Rule(is_table, "a mapping"),
    "tier": Rule(is_whole, "a whole number, lower first"),
    "weight": Rule(lambda value: is_number(value) and cast("float", value) > 0, "a number greater than 0"),
    "quality": Rule(lambda value: is_number(value) and 0 <= cast("float", value) <= 1, "a number from 0 to 1"),
    "label": Rule(is_text, "a text"),
}


def _checked(options: KeyOptions) -> str:
    """The id of a key whose options are sound."""
    check(cast("Mapping[str, object]", options), _OPTIONS, InvalidConfigurationError, "A key")
    name = options.get("id") or f"key_{os.urandom(6).hex()}"
    if not KEY_ID.fullmatch(name):
        raise InvalidConfigurationError(
            f"Key id '{scrub(name)}' does not match [a-z0-9][a-z0-9._-]{{0,63}}; rename it."
        )
    return name


def _target(text: str, alias: str) -> tuple[str, str]:
    provider, slash, model = text.partition("/")
    if not slash or not provider or not model:
        raise InvalidConfigurationError(f"Alias '{alias}' names '{text}'; write it as provider/model.")
    return provider, model


def operation_limits(adapter: Adapter | None) -> tuple[Limit, ...]:
    """Limits that a provider's description states for single operations; every account has them."""
    stated = adapter.capabilities.custom.get("limits") if adapter is not None else None
    found = stated.values() if isinstance(stated, Mapping) else ()
    return tuple(limit for limits in found if isinstance(limits, tuple) for limit in limits)


def joined(limits: tuple[Limit, ...], more: Iterable[Limit]) -> tuple[Limit, ...]:
    """Limits and those of `more` that are not among them."""
    return (*limits, *(limit for limit in more if limit not in limits))


def _adapter(name: str) -> Adapter:
    if name not in _ADAPTERS:
        raise ProviderNotFoundError(f"Adapter '{name}' is unknown; use one of {', '.join(_ADAPTERS)}, or an object.")
    from apikeyrouter import adapters  # httpx only for those who send

    found: Adapter = getattr(adapters, _ADAPTERS[name])()
    return found


def _per_request(name: str, adapter: Adapter) -> dict[str, Price]:
    """Operations whose price is known before sending, as prices per request."""
    found = {}
    for operation in adapter.capabilities.operations:
        nanos = adapter.estimate_cost(operation, {})
        if nanos is not None:
            cost = Decimal(nanos).scaleb(-9)
            found[operation] = Price.of(f"{name}/{operation}", source="configuration", request=cost)
    return found
