"""LiteLLM's deployments as the engine's keys, kept true to whatever LiteLLM's list says now.

A deployment is one key; with `keys:` it is several, each given to LiteLLM as a copy of the deployment with another
api_key. The same credential and model twice, with equal limits, is one pool: the provider counts them as one. Material
stays with LiteLLM, except that of further keys. Which of them serves is not decided here.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from apikeyrouter.core.key import Trigger
from apikeyrouter.core.model import Among
from apikeyrouter.core.price import Price
from apikeyrouter.core.window import Limit
from apikeyrouter.credentials import Secret, resolve
from apikeyrouter.enrolment import Enrolment, KeyOptions
from apikeyrouter.errors import ConfigurationError
from apikeyrouter.facade import ApiKeyRouter
from apikeyrouter.litellm.compat import Deployment, provider_of, secret_named, streams_usage, timeout_in
from apikeyrouter.litellm.hearing import Hearing
from apikeyrouter.litellm.pricing import price_in
from apikeyrouter.litellm.settings import NOTHING, DeploymentSettings, KeySettings, read_settings

MOST_CREWS: Final = 512
_UNFIT: Final = re.compile(r"[^a-z0-9._-]+")
_NOT_PROVIDER: Final = re.compile(r"[^a-z0-9_-]+")
_log = logging.getLogger("apikeyrouter.litellm")


@dataclass(slots=True, eq=False)
class Member:
    """One key of the engine, and the deployment it stands for. `secret` replaces the deployment's api_key."""

    key: str
    model: str
    credential: str
    secret: Secret | None = None


@dataclass(slots=True, eq=False)
class Enrolled:
    """A deployment as it was when it was read; another reading makes another one."""

    name: str
    deployment: Deployment = field(repr=False)
    signature: object = field(repr=False)
    settings: object = field(repr=False)
    members: tuple[Member, ...]
    asks_usage: bool
    max_output: int | None


@dataclass(slots=True, eq=False)
class Crew:
    """The candidates of one list of deployments, ready for the engine."""

    pool: Sequence[Deployment] = field(repr=False)
    among: Among
    members: Mapping[str, tuple[Member, Enrolled]]
    max_output: int | None = None
    timeout: float | None = None


@dataclass(slots=True)
class Fleet:
    """Everything enrolled so far. Not locked: enrolling twice what another thread enrols now changes nothing."""

    router: ApiKeyRouter
    enrolled: dict[str, Enrolled] = field(default_factory=dict)
    crews: dict[object, Crew] = field(default_factory=dict)
    shared: dict[object, str] = field(default_factory=dict)
    salt: bytes = field(default_factory=lambda: os.urandom(16), repr=False)

    @property
    def enrolment(self) -> Enrolment:
        return self.router.enrolment

    def crew(self, pool: Sequence[Deployment]) -> Crew:
        """The crew of a list that LiteLLM's filter left; the same list again costs a comparison of identities."""
        at = (id(pool[0]), id(pool[-1]), len(pool))
        known = self.crews.get(at)
        if known is not None and known.pool == pool:
            return known
        made = self._muster(pool)
        if len(self.crews) >= MOST_CREWS:
            self.crews.clear()
        self.crews[at] = made
        return made

    def _muster(self, pool: Sequence[Deployment]) -> Crew:
        found = [self.enrol(deployment) for deployment in pool]
        members = {member.key: (member, one) for one in found for member in one.members}
        caps = [one.max_output for one in found if one.max_output]
        among = frozenset((member.key, member.model) for member, _ in members.values())
        times = [seconds for each in pool if (seconds := timeout_in(each["litellm_params"])) is not None]
        return Crew(pool, among, members, max(caps, default=None), max(times, default=None))

    def current(self, one: Enrolled) -> bool:
        """Whether what was read of a deployment still holds; LiteLLM's lists are changed while they serve."""
        settings = one.deployment["model_info"].get("apikeyrouter")
        return bool(settings == one.settings)

    def enrol(self, deployment: Deployment) -> Enrolled:
        """The deployment as keys. Settings that cannot be read are told once, and count as none."""
        info, params = deployment["model_info"], deployment["litellm_params"]
        name, raw = str(info["id"]), info.get("apikeyrouter")
        known = self.enrolled.get(name)
        if known is not None and known.deployment is deployment and known.settings == raw:
            return known
        provider, model = provider_of(params)
        signature = (provider, model, self._credential(params.get("api_key"), params), _priced(params), repr(raw))
        if known is not None and known.signature == signature:
            known.deployment = deployment
            return known
        settings = self._read(name, raw)
        one = Enrolled(name, deployment, signature, deepcopy(raw), (), streams_usage(provider, model), _cap(params))
        price = settings.price or price_in(params, info)
        home = self._provider(provider, params.get("api_base"), model, price)
        self._retire(known)
        one.members = tuple(self._members(name, home, model, params, settings))
        self.enrolled[name] = one
        return one

    def check(self, deployments: Iterable[Deployment]) -> None:
        """Raise InvalidConfigurationError for settings that cannot be read, before anything is sent."""
        for deployment in deployments:
            info = deployment["model_info"]
            read_settings(info.get("apikeyrouter") or {}, f"model_info.apikeyrouter of '{info['id']}'")

    def keep(self, deployments: Iterable[Deployment]) -> None:
        """Enrol what LiteLLM has now, and take out what it no longer has."""
        names = {self.enrol(deployment).name for deployment in deployments}
        for gone in set(self.enrolled) - names:
            self._retire(self.enrolled.pop(gone))
            self.crews.clear()

    def refused(self, key: str, reason: str) -> None:
        """A credential was refused: the other deployments that use it need not find out by themselves."""
        members = [m for one in self.enrolled.values() for m in one.members]
        credential = next((m.credential for m in members if m.key == key), None)
        for member in members:
            if member.credential == credential and member.key != key and self.router.get_key(member.key).usable:
                self.enrolment.move(member.key, Trigger.AUTHENTICATION_FAILED, reason)

    # -- enrolling --------------------------------------------------------------------------------------------------

    def _read(self, name: str, raw: object) -> DeploymentSettings:
        try:
            return read_settings(raw if isinstance(raw, Mapping) else {}, f"model_info.apikeyrouter of '{name}'")
        except ConfigurationError as error:
            _log.error("%s Deployment '%s' serves without limits until that is mended.", error, name)
            return NOTHING

    def _provider(self, provider: str, base: object, model: str, price: Price | None) -> str:
        """The engine's name for an address; a price of its own makes it another one, so that they do not mix."""
        host = urlsplit(str(base)).netloc if base else ""
        name = _NOT_PROVIDER.sub("-", f"{provider}-{host}".lower() if host else provider)
        if price is not None:
            name = f"{name}-{_short(price.id, repr(price), model)}"
        if name not in self.enrolment.adapters:
            price_name = provider if price is None else name
            if price is not None:
                self.enrolment.price(name, model, price)
            self.enrolment.add_provider(name, Hearing.of(provider), price_name=price_name)
        return name

    def _members(
        self, name: str, provider: str, model: str, params: Mapping[str, object], settings: DeploymentSettings
    ) -> Iterable[Member]:
        if not settings.extra or params.get("api_key"):
            yield self._member(
                _slug(name), provider, model, self._credential(params.get("api_key"), params), settings.own
            )
        for extra in settings.extra:
            source = secret_named(extra.source)
            secret = resolve(source, name=f"key '{extra.id}' of deployment '{name}'")
            member = self._member(
                _slug(f"{name}.{extra.id}"), provider, model, self._credential(secret.reveal(), params), extra.settings
            )
            member.secret = secret
            yield member

    def _member(self, key: str, provider: str, model: str, credential: str, settings: KeySettings) -> Member:
        pools = settings.pools or (self._pool(key, provider, model, credential, settings.limits),)
        options: KeyOptions = {
            "id": key,
            "pool": pools,
            "limits": settings.limits,
            "caps": settings.caps,
            "tags": settings.tags,
            "tier": settings.tier,
            "weight": settings.weight,
            "quality": settings.quality,
        }
        for budget in settings.budgets_of(key):
            self.enrolment.add_budget(budget)
        self.enrolment.add_key(None, provider, options)
        return Member(key, model, credential)

    def _pool(self, key: str, provider: str, model: str, credential: str, limits: tuple[Limit, ...]) -> str:
        """Equal credential, model and limits share a pool; changed limits make a new one, which starts full."""
        at = (provider, model, credential, limits)
        if at not in self.shared:
            taken = sum(1 for name in self.shared.values() if name.partition("#")[0] == key)
            self.shared[at] = f"{key}#{taken + 1}" if taken else key
        return self.shared[at]

    def _retire(self, one: Enrolled | None) -> None:
        for member in one.members if one else ():
            self.enrolment.revoke(member.key)

    def _credential(self, api_key: object, params: Mapping[str, object]) -> str:
        """What names the account behind a deployment, without being the key."""
        parts = (api_key or "environment", params.get("api_base"), params.get("organization"))
        said = "\0".join(str(part) for part in parts)
        return hmac.new(self.salt, said.encode(), hashlib.sha256).hexdigest()[:16]


def _priced(params: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(str(params.get(name)) for name in ("max_tokens", "input_cost_per_token", "output_cost_per_token"))


def _cap(params: Mapping[str, object]) -> int | None:
    found = params.get("max_tokens") or params.get("max_completion_tokens")
    return found if isinstance(found, int) else None


def _slug(name: str) -> str:
    """A name the engine takes; one that had to be changed or cut keeps itself apart by a few digits."""
    plain = _UNFIT.sub("-", name.lower()).lstrip("._-")
    return plain if plain == name and len(plain) <= 64 else f"{plain[:50] or 'key'}-{_short(name)}"


def _short(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
