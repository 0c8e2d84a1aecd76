"""A deployment's settings made keys, pools and budgets of the engine; changed in place when the settings change.

LiteLLM's lists change while they serve, and what was counted must not be forgotten with each change: a key keeps its
state and history, a pool what is used of it, a budget what was spent. Only another account (provider, address,
credential) is another key. What the engine's own configuration says of a key of the deployment's id stands. Which
deployments there are is fleet.py's.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from apikeyrouter.core.price import Price
from apikeyrouter.core.window import Limit
from apikeyrouter.credentials import Secret, resolve
from apikeyrouter.enrolment import KeyOptions
from apikeyrouter.errors import ApiKeyRouterError, ConfigurationError
from apikeyrouter.facade import ApiKeyRouter
from apikeyrouter.litellm.compat import provider_of, secret_named
from apikeyrouter.litellm.hearing import Hearing
from apikeyrouter.litellm.pricing import price_in
from apikeyrouter.litellm.settings import DeploymentSettings, ExtraKey, KeySettings

_UNFIT: Final = re.compile(r"[^a-z0-9._-]+")
_NOT_PROVIDER: Final = re.compile(r"[^a-z0-9_-]+")
_SALT: Final = os.urandom(16)
_log = logging.getLogger("apikeyrouter.litellm")


@dataclass(slots=True, eq=False)
class Member:
    """One key of the engine that stands for a deployment, or for one of several keys behind it.

    `name` is what it would be called if that were free. `secret` replaces the deployment's api_key. `kept`: the key is
    not this Router's to change or take out.
    """

    name: str
    key: str
    provider: str
    model: str
    credential: str
    secret: Secret | None = None
    budgets: frozenset[str] = frozenset()
    kept: bool = False


@dataclass(slots=True, kw_only=True)
class _Wanted:
    """A key as the settings want it."""

    name: str
    provider: str
    model: str
    credential: str
    settings: KeySettings
    secret: Secret | None = field(default=None, repr=False)

    def is_of(self, member: Member) -> bool:
        return (self.provider, self.model, self.credential) == (member.provider, member.model, member.credential)


@dataclass(slots=True)
class _Common:
    """What the Routers of one engine share: whose credential a key is of, and which pools are made by them."""

    credentials: dict[str, str] = field(default_factory=dict)
    pools: set[str] = field(default_factory=set)
    shared: dict[tuple[str, str, str, tuple[Limit, ...]], str] = field(default_factory=dict)


_COMMON: WeakKeyDictionary[ApiKeyRouter, _Common] = WeakKeyDictionary()


class Joining:
    """Deployments into one engine."""

    def __init__(self, router: ApiKeyRouter) -> None:
        self.enrolment = router.enrolment
        self.engine = router.enrolment.router
        self.registry = self.engine.registry
        self.common = _COMMON.setdefault(router, _Common())

    def join(
        self,
        name: str,
        params: Mapping[str, object],
        info: Mapping[str, object],
        settings: DeploymentSettings,
        before: tuple[Member, ...],
    ) -> tuple[Member, ...]:
        """The deployment's members, new or changed in place. Raises ConfigurationError for what contradicts."""
        known = {member.name: member for member in before}
        found: list[Member] = []
        try:
            for wanted in self._wanted(name, params, info, settings):
                found += [self._joined(wanted, known.pop(wanted.name, None))]
        except ApiKeyRouterError:
            self.leave(found)
            raise
        finally:
            self.leave(known.values())
        return tuple(found)

    def _joined(self, wanted: _Wanted, member: Member | None) -> Member:
        if member is None:
            return self._add(wanted)
        if wanted.is_of(member) and member.key in self.registry.keys:
            self._change(member, wanted)
            return member
        self.leave((member,))
        return self._add(wanted)

    def leave(self, members: Iterable[Member]) -> None:
        """Take keys out. Pools and budgets stay: what was used of them counts if the deployment comes back."""
        for member in members:
            if not member.kept and member.key in self.registry.keys:
                self.common.credentials.pop(member.key, None)
                self.enrolment.revoke(member.key)

    # -- what the settings want ---------------------------------------------------------------------------------------

    def _wanted(
        self, name: str, params: Mapping[str, object], info: Mapping[str, object], settings: DeploymentSettings
    ) -> list[_Wanted]:
        provider, model = provider_of(params)
        home = self._provider(provider, params.get("api_base"), model, settings.price or price_in(params, info))
        given = params.get("api_key")
        extra = [found for each in settings.extra if (found := self._extra(name, home, model, params, each))]
        if extra and not given:
            return extra
        own = _Wanted(
            name=_slug(name), provider=home, model=model, credential=credential(given, params), settings=settings.own
        )
        return [own, *extra]

    def _extra(self, name: str, home: str, model: str, params: Mapping[str, object], each: ExtraKey) -> _Wanted | None:
        """A further key; told and left out where its material cannot be read."""
        what = f"key '{each.id}' of deployment '{name}'"
        try:
            secret = resolve(secret_named(each.source), name=what)
        except ConfigurationError as error:
            _log.error("%s It is left out until that is mended.", error)
            return None
        key, mine = _slug(f"{name}.{each.id}"), credential(secret.reveal(), params)
        return _Wanted(name=key, provider=home, model=model, credential=mine, settings=each.settings, secret=secret)

    def _provider(self, provider: str, base: object, model: str, price: Price | None) -> str:
        """The engine's name for an address; a price of its own makes it another one, so that they do not mix."""
        host = _host(base)
        name = _NOT_PROVIDER.sub("-", f"{provider}-{host}".lower() if host else provider)
        if price is not None:
            name = f"{name}-{_short(price.id, repr(price), model)}"
        if name not in self.enrolment.adapters:
            price_name = provider if price is None else name
            if price is not None:
                self.enrolment.price(name, model, price)
            self.enrolment.add_provider(name, Hearing.of(provider), price_name=price_name)
        return name

    # -- into the engine ----------------------------------------------------------------------------------------------

    def _add(self, wanted: _Wanted) -> Member:
        name, settings = wanted.name, wanted.settings
        member = Member(name, name, wanted.provider, wanted.model, wanted.credential, wanted.secret)
        if name in self.registry.keys:
            if self._is_meant(name, wanted):
                member.kept = True
                return member
            member.key = f"{name[:50]}-{wanted.credential[:8]}"
        options: KeyOptions = {
            "id": member.key,
            "pool": self._pools(member.key, wanted),
            "caps": settings.caps,
            "tags": settings.tags,
            "tier": settings.tier,
            "weight": settings.weight,
            "quality": settings.quality,
        }
        self._budget(member, settings)
        self.enrolment.add_key(None, wanted.provider, options)
        self.common.credentials[member.key] = wanted.credential
        return member

    def _is_meant(self, name: str, wanted: _Wanted) -> bool:
        """Whether a key that is there is meant: the configuration's own, or another Router's of the same account."""
        owner = self.common.credentials.get(name)
        if owner is None and wanted.settings != KeySettings():
            _log.warning("Key '%s' is the engine's own; its model_info.apikeyrouter is left out.", name)
        return owner is None or owner == wanted.credential

    def _change(self, member: Member, wanted: _Wanted) -> None:
        member.secret = wanted.secret
        if member.kept:
            return
        key, settings = self.registry.keys[member.key], wanted.settings
        pools = self._pools(member.key, wanted)
        caps = f"{key.id}/caps"
        with self.engine.lock:
            if settings.caps:
                self._limit(caps, settings.caps)
            key.pools = ((caps,) if settings.caps else ()) + pools
            key.tier, key.weight, key.quality = settings.tier, settings.weight, settings.quality
            self.registry.tenants -= key.tenant is not None
            key.tags = MappingProxyType(dict(settings.tags))
            key.tenant = key.tags.get("tenant")
            self.registry.tenants += key.tenant is not None
            self.registry.changed()
        self._budget(member, settings)
        self.enrolment.woken()

    def _pools(self, key: str, wanted: _Wanted) -> tuple[str, ...]:
        """The pools a key draws from, declared with the limits that are stated."""
        settings = wanted.settings
        if not settings.pools:
            return (self._own_pool(key, wanted),)
        self._declare(settings.pools[0], settings.limits, key)
        for name in settings.pools[1:]:
            self._declare(name, (), key)
        return settings.pools

    def _declare(self, name: str, limits: tuple[Limit, ...], key: str) -> None:
        """A pool with the limits stated last, except the configuration's, whose limits stand."""
        with self.engine.lock:
            known, now = self.registry.pool_limits.get(name), self.engine.now()
            if known is None or (limits and not known):
                self.registry.add_pool(name, limits, now)
                self.common.pools.add(name)
            elif limits and known != limits:
                if name in self.common.pools:
                    self.registry.change_pool(name, limits, now)
                else:
                    _log.error("Pool '%s' has limits of its own; those that key '%s' states are left out.", name, key)

    def _limit(self, name: str, limits: tuple[Limit, ...]) -> None:
        put = self.registry.change_pool if name in self.registry.pool_limits else self.registry.add_pool
        put(name, limits, self.engine.now())

    def _own_pool(self, key: str, wanted: _Wanted) -> str:
        """Equal credential, model and limits share a pool; one that nobody else uses takes changed limits."""
        shared, limits = self.common.shared, wanted.settings.limits
        account = (wanted.provider, wanted.model, wanted.credential)
        if (*account, limits) in shared:
            return shared[*account, limits]
        with self.engine.lock:
            used = {pool for other in self.registry.keys.values() if other.id != key for pool in other.pools}
            free = [at for at, pool in shared.items() if at[:3] == account and pool not in used]
            if free:
                name = shared.pop(free[-1])
                self.registry.change_pool(name, limits, self.engine.now())
            else:
                name = self._new_name(key)
                self.registry.add_pool(name, limits, self.engine.now())
        shared[*account, limits] = name
        return name

    def _new_name(self, key: str) -> str:
        name, at = key, 1
        while name in self.registry.pool_limits:
            at += 1
            name = f"{key}#{at}"
        return name

    def _budget(self, member: Member, settings: KeySettings) -> None:
        """Put the budgets of a key in force, and out of force those that its settings no longer state."""
        stated = settings.budgets_of(member.key)
        for budget in stated:
            self.enrolment.add_budget(budget)
        gone = member.budgets - {budget.name for budget in stated}
        if gone:
            with self.engine.lock:
                left = tuple(budget for budget in self.engine.budgets.budgets if budget.name not in gone)
                self.engine.budgets.replace(left, self.engine.now())
                self.registry.changed()
        member.budgets = frozenset(budget.name for budget in stated)


def credential(api_key: object, params: Mapping[str, object]) -> str:
    """What names the account behind a deployment, without being the key."""
    parts = (api_key or "environment", params.get("api_base"), params.get("organization"))
    said = "\0".join(str(part) for part in parts)
    return hmac.new(_SALT, said.encode(), hashlib.sha256).hexdigest()[:16]


def _host(base: object) -> str:
    """Host and port of an address; whatever else it carries, such as a password, is nobody's name."""
    with suppress(ValueError):
        parts = urlsplit(str(base or ""))
        return f"{parts.hostname or ''}:{parts.port or ''}".strip(":")
    return _short(str(base))


def _slug(name: str) -> str:
    """A name the engine takes; one that had to be changed or cut keeps itself apart by a few digits."""
    plain = _UNFIT.sub("-", name.lower()).lstrip("._-")
    return plain if plain == name and len(plain) <= 64 else f"{plain[:50] or 'key'}-{_short(name)}"


def _short(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
