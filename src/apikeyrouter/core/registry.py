"""Who exists: providers, keys, pools, model aliases; and from them, compiled, who may serve a request.

Names resolve here and nowhere else: `provider/model` pins, an alias wins over a bare name, a bare name goes to the keys
whose globs contain it, else whose provider's price rows do; a key without globs takes any model only when its provider
is the only one. Rosters are cached until `version` moves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from math import inf
from typing import Final

from apikeyrouter.core.breaker import Breaker, BreakerSettings
from apikeyrouter.core.budget import BudgetTree
from apikeyrouter.core.health import Health
from apikeyrouter.core.key import RANK, Key, State
from apikeyrouter.core.model import Among, Capabilities
from apikeyrouter.core.pool import Pool
from apikeyrouter.core.price import Price, PriceBook
from apikeyrouter.core.redeclare import redeclare
from apikeyrouter.core.roster import Candidate, Deployment, Excluded, Roster
from apikeyrouter.core.scrub import scrub
from apikeyrouter.core.stats import Latency, Reliability
from apikeyrouter.core.window import Limit
from apikeyrouter.errors import (
    InvalidConfigurationError,
    KeyAlreadyExistsError,
    KeyNotFoundError,
    ProviderNotFoundError,
)

ANY_OPERATION: Final = "http"
"""A request whose dialect nobody asked about: every provider takes it."""
LISTING: Final = "models"
"""Any key may ask which models there are."""
MOST_ROSTERS: Final = 1024
MOST_COMPILED: Final = 50_000
"""Candidates in all compiled rosters together: names of models come from callers, and are not kept without bound."""
MOST_DEPLOYMENTS: Final = 10_000
MOST_BLOCKS: Final = 10_000
"""Names of models come from callers, and each that a provider does not know blocks a key for it."""


@dataclass(slots=True)
class Provider:
    """A registered provider, without its adapter. `price_name` is what price rows call it.

    `per_request` maps an operation to its fixed price where the provider charges by the request.
    """

    id: str
    capabilities: Capabilities = field(default_factory=Capabilities)
    price_name: str = ""
    per_request: Mapping[str, Price] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)
    health: Health = field(default_factory=Health)


Ticket = tuple[str, str | None, str, frozenset[str], str | None, Among | None]


class Registry:
    """Mutable by the router's verbs only, under its lock."""

    __slots__ = (
        "aliases", "assumed_price", "blocked", "breaker_settings", "budgets", "compiled", "declared", "deployments",
        "fingerprints", "keys", "next_change", "pool_limits", "pools", "prices", "providers", "rosters", "tenants",
        "version",
    )  # fmt: skip

    def __init__(self, prices: PriceBook, budgets: BudgetTree, breaker_settings: BreakerSettings | None = None) -> None:
        self.prices = prices
        self.assumed_price: Price | None = None
        self.budgets = budgets
        self.breaker_settings = breaker_settings
        self.providers: dict[str, Provider] = {}
        self.keys: dict[str, Key] = {}
        self.pools: dict[str, Pool] = {}
        self.declared: set[str] = set()
        self.pool_limits: dict[str, tuple[Limit, ...]] = {}
        self.aliases: dict[str, tuple[tuple[str, str], ...]] = {}
        self.deployments: dict[tuple[str, str], Deployment] = {}
        self.fingerprints: dict[str, str] = {}
        self.blocked: dict[tuple[str, str, str], tuple[float, str]] = {}
        self.rosters: dict[Ticket, Roster] = {}
        self.tenants = 0
        self.version = 0
        self.compiled = 0
        self.next_change = inf

    # -- changes --------------------------------------------------------------------------------------------------

    def changed(self) -> None:
        """Forget what was compiled."""
        self.version += 1
        for roster in self.rosters.values():
            roster.retire()
        self.rosters.clear()
        self.compiled = 0

    def add_provider(self, provider: Provider) -> None:
        self.providers[provider.id] = provider
        self.deployments = {at: d for at, d in self.deployments.items() if at[0] != provider.id}
        self.changed()

    def reprice(self, price_name: str, model: str, price: Price) -> None:
        """Override a price; what was learned about the deployments it concerns stays."""
        self.prices.override(price_name, model, price)
        for (provider, name), deployment in self.deployments.items():
            entry = self.providers[provider]
            if (entry.price_name or provider) == price_name:
                deployment.price = self._price(provider, name)
        self.changed()

    def add_pool(self, name: str, limits: tuple[Limit, ...], now: float) -> None:
        """Declare a pool; repeating equal limits changes nothing, other limits are an error."""
        known = self.pool_limits.get(name)
        if known is not None and limits and known and known != limits:
            raise InvalidConfigurationError(
                f"Pool '{name}' already has other limits ({len(known)} of them); state them once, on the pool."
            )
        if known is None or (limits and not known):
            made = {part: Pool(part, own, now=now) for part, own in _by_models(name, limits).items()}
            self.pool_limits[name] = limits
            self.pools.update(made)
            self.changed()

    def own_pool(self, name: str, limits: tuple[Limit, ...], now: float) -> None:
        """The pool that belongs to one key alone: what a key of that name left behind gets the new one's limits."""
        left = self.pool_limits.get(name)
        if left is None or left == limits or any(name in key.pools for key in self.keys.values()):
            self.add_pool(name, limits, now)
        else:
            self.change_pool(name, limits, now)

    def change_pool(self, name: str, limits: tuple[Limit, ...], now: float) -> None:
        """Put other limits in force in a declared pool; what is used and held stays so."""
        parts = _by_models(name, limits)
        for gone in _by_models(name, self.pool_limits[name]).keys() - parts.keys():
            del self.pools[gone]
        for part, own in parts.items():
            if part in self.pools:
                redeclare(self.pools[part], own, now)
            else:
                self.pools[part] = Pool(part, own, now=now)
        self.pool_limits[name] = limits
        self.changed()

    def remove_provider(self, name: str) -> None:
        """Nobody is routed there any more; requests under way end as they began."""
        self.providers.pop(name, None)
        self.deployments = {at: d for at, d in self.deployments.items() if at[0] != name}
        self.changed()

    def refresh_prices(self) -> None:
        """Look prices up again: some were set or withdrawn by hand."""
        for deployment in self.deployments.values():
            deployment.price = self._price(deployment.provider, deployment.model)
        self.changed()

    def check_new(self, key: Key) -> None:
        """Whether a key may be added: its provider known, its id and material not."""
        if key.provider not in self.providers:
            known = ", ".join(sorted(self.providers)) or "none yet"
            raise ProviderNotFoundError(
                f"Key '{key.id}' names provider '{scrub(key.provider)}', which is not registered (known: {known}); "
                f"register the provider first."
            )
        if key.id in self.keys:
            raise KeyAlreadyExistsError(f"Key '{key.id}' is already registered; rotate_key replaces its material.")
        self.check_material(key.fingerprint, key.id)

    def add_key(self, key: Key) -> None:
        self.check_new(key)
        if key.fingerprint:
            self.fingerprints[key.fingerprint] = key.id
        self.keys[key.id] = key
        self.tenants += key.tenant is not None
        self.changed()

    def probe_unknown(self, key: Key) -> None:
        """Pools of the key that have no limits yet wait for the provider's first answer to tell them."""
        for pool in self.pools_of(key):
            if not pool.windows and not pool.in_flight and not pool.throttles:
                pool.probe()

    def rename_material(self, key: Key, fingerprint: str) -> None:
        """The key has other material now."""
        self.check_material(fingerprint, key.id)
        self.fingerprints = {f: k for f, k in self.fingerprints.items() if k != key.id}
        self.fingerprints[fingerprint] = key.id
        key.fingerprint = fingerprint
        key.version += 1
        self.changed()

    def check_material(self, fingerprint: str, name: str) -> None:
        """The same material registers once: KeyAlreadyExistsError names the key that has it."""
        owner = self.fingerprints.get(fingerprint)
        if owner is not None and owner != name:
            raise KeyAlreadyExistsError(f"The material of key '{name}' is already registered as key '{owner}'.")

    def remove_key(self, name: str) -> Key:
        key = self.key(name)
        key.removed = True
        del self.keys[name]
        self.fingerprints = {f: k for f, k in self.fingerprints.items() if k != name}
        self.tenants -= key.tenant is not None
        self.changed()
        return key

    def block(self, key: str, provider: str, model: str, until: float, reason: str) -> None:
        """Keep one key from one model for a while (no access, unknown there, not on the plan)."""
        while len(self.blocked) >= MOST_BLOCKS:
            del self.blocked[next(iter(self.blocked))]
        self.blocked[key, provider, model] = (until, reason)
        self.next_change = min(self.next_change, until)
        self.changed()

    def expire_blocks(self, now: float) -> None:
        if now >= self.next_change:
            self.blocked = {at: b for at, b in self.blocked.items() if b[0] > now}
            self.next_change = min((until for until, _ in self.blocked.values()), default=inf)
            self.changed()

    # -- look-ups -------------------------------------------------------------------------------------------------

    def key(self, name: str) -> Key:
        given: object = name
        found = self.keys.get(given) if isinstance(given, str) else None
        if found is None:
            called = scrub(given) if isinstance(given, str) else type(given).__name__
            raise KeyNotFoundError(f"No key is called '{called}'; list_keys() has the {len(self.keys)} that are.")
        return found

    def pools_of(self, key: Key, model: str | None = None) -> tuple[Pool, ...]:
        """Pools a request by `key` for `model` charges, the most specific last; every pool when model is None."""
        found = []
        for name in key.pools:
            found += [
                self.pools[part]
                for part, limits in _by_models(name, self.pool_limits[name]).items()
                if model is None or not limits or not limits[0].models or _matches(model, limits[0].models)
            ]
        return tuple(found)

    def state_of(self, key: Key) -> State:
        """What a person sees: the key's own trouble, else that of its worst pool, since a request needs them all.

        A pool with limits of its own for some models is as good as its best part: other models are still served.
        """
        best = (
            min((self.pools[part].state for part in _by_models(name, self.pool_limits[name])), key=RANK.__getitem__)
            for name in key.pools
        )
        return key.shown([max(best, key=RANK.__getitem__, default=State.AVAILABLE)])

    def deployment(self, provider: str, model: str, now: float) -> Deployment:
        found = self.deployments.get((provider, model))
        if found is None:
            while len(self.deployments) >= MOST_DEPLOYMENTS:
                self.deployments.pop(next(iter(self.deployments)))
            found = self.deployments[provider, model] = self._new_deployment(provider, model, now)
        return found

    def _new_deployment(self, provider: str, model: str, now: float) -> Deployment:
        entry = self.providers[provider]
        return Deployment(
            provider,
            model,
            Reliability(now),
            Latency(),
            Breaker(f"{provider}/{model}", self.breaker_settings),
            entry.capabilities.features,
            self._price(provider, model),
            max_output_tokens=entry.capabilities.max_output_tokens,
        )

    def _price(self, provider: str, model: str) -> Price | None:
        entry = self.providers[provider]
        known = entry.per_request.get(model) or self.prices.find(entry.price_name or provider, model)
        return self.assumed_price if known is None else known

    def targets(self, model: str, provider: str | None) -> tuple[tuple[str, str], ...]:
        """(provider, its model name) pairs that a name stands for, in the order of the alias."""
        if provider is not None:
            if provider not in self.providers:
                known = ", ".join(sorted(self.providers)) or "none yet"
                raise ProviderNotFoundError(f"Provider '{scrub(provider)}' is not registered; known: {known}.")
            return ((provider, model.removeprefix(f"{provider}/")),)
        if model in self.aliases:
            return tuple(target for target in self.aliases[model] if target[0] in self.providers)
        head, slash, rest = model.partition("/")
        if slash and head in self.providers:
            return ((head, rest),)
        return tuple((name, model) for name in self.providers)

    def serves(self, key: Key, model: str, *, pinned: bool) -> bool:
        """Whether a key takes a model: by its globs, else because it was named with its provider, else by price."""
        if key.models:
            return _matches(model, key.models)
        if pinned or len(self.providers) == 1:
            return True
        entry = self.providers[key.provider]
        return self.prices.find(entry.price_name or key.provider, model) is not None

    def roster(
        self,
        model: str,
        provider: str | None,
        operation: str,
        needs: frozenset[str],
        tenant: str | None,
        now: float,
        *,
        among: Among | None = None,
    ) -> Roster:
        """Who may serve, cached. Raises ProviderNotFoundError for a provider that does not exist."""
        if now >= self.next_change:
            self.expire_blocks(now)
        ticket = (model, provider, operation, needs, tenant if self.tenants else None, among)
        found = self.rosters.get(ticket)
        if found is None:
            found = self._compile(ticket, now)
            self.compiled += len(found) + 1
            while self.rosters and (self.compiled > MOST_COMPILED or len(self.rosters) >= MOST_ROSTERS):
                gone = self.rosters.pop(next(iter(self.rosters)))
                self.compiled -= gone.total + 1
                gone.retire()
            self.rosters[ticket] = found
        return found

    def _compile(self, ticket: Ticket, now: float) -> Roster:
        model, provider, operation, needs, tenant, among = ticket
        head, slash, _ = model.partition("/")
        pinned = bool(among or provider or model in self.aliases or (slash and head in self.providers))
        candidates: list[Candidate] = []
        excluded: list[Excluded] = []
        for key, target in self._asked(model, provider, among):
            why = self._unfit(key, target, operation, needs, tenant, pinned=pinned)
            if why is None:
                candidates.append(self._candidate(key, target, now))
            else:
                excluded.append(Excluded(key.id, *why))
        for pool in {id(p): p for c in candidates for p in c.pools}.values():
            pool.parked = {s: None for s in pool.parked if s.roster_version == self.version}
        return Roster(model, candidates, tuple(excluded), version=self.version)

    def _asked(self, model: str, provider: str | None, among: Among | None) -> Iterator[tuple[Key, str]]:
        """Keys with the model each would be asked for: those the caller names, else all of the model's providers."""
        if among is not None:
            yield from ((self.keys[name], target) for name, target in sorted(among) if name in self.keys)
            return
        for name, target in self.targets(model, provider):
            yield from ((key, target) for key in self.keys.values() if key.provider == name)

    def _candidate(self, key: Key, model: str, now: float) -> Candidate:
        nodes = self.budgets.candidate_path(provider=key.provider, pools=key.pools, key=key.id, model=model, now=now)
        deployment = self.deployment(key.provider, model, now)
        return Candidate(key, deployment, self.pools_of(key, model), nodes, self.version)

    def _unfit(
        self, key: Key, model: str, operation: str, needs: frozenset[str], tenant: str | None, *, pinned: bool
    ) -> tuple[str, str] | None:
        capabilities = self.providers[key.provider].capabilities
        missing = needs - capabilities.features
        if not key.usable:
            return "state", f"is {key.state}"
        if operation != LISTING and not self.serves(key, model, pinned=pinned):
            return "model", f"does not serve {model}"
        if operation not in capabilities.operations and operation != ANY_OPERATION:
            return "operation", f"{key.provider} has no operation '{operation}'"
        if missing:
            return "capability", f"{key.provider} lacks {', '.join(sorted(missing))}"
        if key.tenant is not None and key.tenant != tenant:
            return "tenant", "belongs to another tenant"
        block = self.blocked.get((key.id, key.provider, model))
        return None if block is None else ("blocked", block[1])


def _matches(model: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(model, glob) for glob in globs)


def _by_models(name: str, limits: tuple[Limit, ...]) -> dict[str, tuple[Limit, ...]]:
    """Limits for some models only live in a part of their own, so that other models do not touch them."""
    parts: dict[str, tuple[Limit, ...]] = {name: tuple(x for x in limits if not x.models)}
    for limit in limits:
        if limit.models:
            part = f"{name}[{','.join(limit.models)}]"
            parts[part] = (*parts.get(part, ()), limit)
    return parts
