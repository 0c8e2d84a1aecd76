"""LiteLLM's deployments as the engine's keys, kept true to whatever LiteLLM's list says now.

A deployment is one key; with `keys:` it is several, each given to LiteLLM as a copy of the deployment with another
api_key. Material stays with LiteLLM, except that of further keys. `version` moves with every change, so that a pick
that had to wait can tell whether what it waited for is still there. How settings become keys, pools and budgets is in
joining.py; which of them serves is not decided here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, Final

from apikeyrouter.core.key import Trigger
from apikeyrouter.core.model import Among
from apikeyrouter.core.window import Limit
from apikeyrouter.errors import InvalidConfigurationError
from apikeyrouter.facade import ApiKeyRouter
from apikeyrouter.litellm.compat import Deployment, first_byte_in, provider_of, streams_usage, timeout_in
from apikeyrouter.litellm.joining import Joining, Member, credential
from apikeyrouter.litellm.pricing import price_in
from apikeyrouter.litellm.settings import NOTHING, DeploymentSettings, read_settings

MOST_CREWS: Final = 512
Signature = tuple[tuple[str, str, str], int | None, str, str]
"""Account (provider, model, credential), cap on answers, price, settings: with another one it is read anew."""
_LOST: Final = object()
_log = logging.getLogger("apikeyrouter.litellm")


@dataclass(slots=True, eq=False)
class Enrolled:
    """A deployment as it was when it was read; `api_key` and `settings` tell whether somebody changed it in place."""

    name: str
    deployment: Deployment = field(repr=False)
    signature: Signature | None = field(default=None, repr=False)
    settings: object = field(default=None, repr=False)
    api_key: object = field(default=None, repr=False)
    members: tuple[Member, ...] = ()
    asks_usage: bool = False
    max_output: int | None = None

    @property
    def current(self) -> bool:
        """Whether what was read still holds; LiteLLM's lists are changed while they serve."""
        deployment = self.deployment
        if deployment["litellm_params"].get("api_key") is not self.api_key:
            return False
        return bool(deployment["model_info"].get("apikeyrouter") == self.settings)


@dataclass(slots=True, eq=False)
class Crew:
    """The candidates of one list of deployments, ready for the engine."""

    pool: Sequence[Deployment] = field(repr=False)
    among: Among
    members: Mapping[str, tuple[Member, Enrolled]]
    version: int
    max_output: int | None = None
    timeout: float | None = None
    first_byte: float | None = None


class Fleet:
    """The deployments of one LiteLLM Router as keys of an engine. Picks of several threads may ask at once.

    `listed` is what LiteLLM has now, None where it cannot be asked; `now` the engine's time, in epoch seconds.
    """

    def __init__(self, router: ApiKeyRouter, listed: Callable[[], Iterable[Deployment] | None] = lambda: None) -> None:
        self.router = router
        self.listed = listed
        self.joining = Joining(router)
        self.enrolled: dict[str, Enrolled] = {}
        self.crews: dict[object, Crew] = {}
        self.version = 0
        self.now = router.enrolment.router.now
        self._keys = router.enrolment.router.registry.keys
        self._lock = RLock()

    def crew(self, pool: Sequence[Deployment]) -> Crew:
        """The crew of a list that LiteLLM's filter left; the same list again costs a comparison of identities."""
        at = (id(pool[0]), id(pool[-1]), len(pool))
        known = self.crews.get(at)
        if known is not None and known.pool == pool and known.version == self.version:
            return known
        return self.reread(pool)

    def reread(self, pool: Sequence[Deployment]) -> Crew:
        """The crew, with every deployment looked at again."""
        at = (id(pool[0]), id(pool[-1]), len(pool))
        with self._lock:
            self.look()
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
        return Crew(
            [*pool],
            among,
            members,
            self.version,
            max_output=max(caps, default=None),
            timeout=_longest(timeout_in, pool),
            first_byte=_longest(first_byte_in, pool),
        )

    def look(self) -> int:
        """The version, after a look at LiteLLM's list."""
        listed = self.listed()
        if listed is not None:
            self.keep(listed)
        return self.version

    def moved(self, crew: Crew) -> bool:
        """Whether anything was changed since the crew was read, in LiteLLM's list or in place."""
        return crew.version != self.version or not all(one.current for _, one in crew.members.values())

    def enrol(self, deployment: Deployment) -> Enrolled:
        """The deployment as keys. Settings that cannot be read are told once, and count as none."""
        info, params = deployment["model_info"], deployment["litellm_params"]
        name, raw = str(info["id"]), info.get("apikeyrouter")
        with self._lock:
            one = self.enrolled.get(name)
            if one is not None and one.deployment is deployment and one.current:
                return one
            provider, model = provider_of(params)
            account = (provider, model, credential(params.get("api_key"), params))
            signature = (account, _cap(params), repr(price_in(params, info)), repr(raw))
            if one is None:
                one = self.enrolled[name] = Enrolled(name, deployment)
            before, one.signature = one.signature, signature
            one.deployment, one.settings, one.api_key = deployment, deepcopy(raw), params.get("api_key")
            if before != signature:
                one.asks_usage, one.max_output = streams_usage(provider, model), _cap(params)
                one.members = self._joined(one, raw, same=before is not None and before[0] == account)
                self._changed()
        return one

    def _joined(self, one: Enrolled, raw: object, *, same: bool) -> tuple[Member, ...]:
        """The members as the settings want them; as before where these cannot be read and the account is the `same`."""
        params, info = one.deployment["litellm_params"], one.deployment["model_info"]
        try:
            settings = _read(one.name, raw)
        except InvalidConfigurationError as error:
            if same:
                _log.error("%s Deployment '%s' goes on as it was until that is mended.", error, one.name)
                return one.members
            _log.error("%s Deployment '%s' serves without limits until that is mended.", error, one.name)
            settings = NOTHING
        return self.joining.join(one.name, params, info, settings, one.members)

    def _changed(self) -> None:
        self.version += 1
        self.crews.clear()

    def check(self, deployments: Iterable[Deployment]) -> None:
        """Raise InvalidConfigurationError for settings that cannot be read or contradict, before anything is sent."""
        stated: dict[str, tuple[str, tuple[Limit, ...]]] = {}
        for deployment in deployments:
            name = str(deployment["model_info"]["id"])
            settings = _read(name, deployment["model_info"].get("apikeyrouter"))
            for each in (settings.own, *(extra.settings for extra in settings.extra)):
                if each.pools and each.limits:
                    first, limits = stated.setdefault(each.pools[0], (name, each.limits))
                    if limits != each.limits:
                        raise InvalidConfigurationError(
                            f"Pool '{each.pools[0]}' has other limits at deployment '{name}' than at '{first}'; "
                            f"state them once, or alike."
                        )

    def keep(self, deployments: Iterable[Deployment]) -> None:
        """Enrol what LiteLLM has now, and take out what it no longer has."""
        with self._lock:
            for one in self.enrolled.values():
                if any(member.kept and member.key not in self._keys for member in one.members):
                    one.signature, one.api_key = None, _LOST
            names = {self.enrol(deployment).name for deployment in deployments}
            for gone in set(self.enrolled) - names:
                self.joining.leave(self.enrolled.pop(gone).members)
                self._changed()

    def refused(self, key: str, reason: str) -> None:
        """A credential was refused: the other deployments that use it need not find out by themselves."""
        with self._lock:
            members = [m for one in self.enrolled.values() for m in one.members]
        mine = next((m.credential for m in members if m.key == key), None)
        for member in members:
            other = self._keys.get(member.key) if member.credential == mine and member.key != key else None
            if other is not None and other.usable:
                self.router.enrolment.move(member.key, Trigger.AUTHENTICATION_FAILED, reason)


def _read(name: str, raw: object) -> DeploymentSettings:
    where = f"model_info.apikeyrouter of '{name}'"
    if raw is not None and not isinstance(raw, Mapping):
        raise InvalidConfigurationError(f"{where} is a {type(raw).__name__}; write a mapping such as {{rpm: 500}}.")
    return read_settings(raw or {}, where)


def _longest(seconds_in: Callable[[Mapping[str, Any]], float | None], pool: Sequence[Deployment]) -> float | None:
    """The most that any deployment which says so allows."""
    found = [seconds for each in pool if (seconds := seconds_in(each["litellm_params"])) is not None]
    return max(found, default=None)


def _cap(params: Mapping[str, object]) -> int | None:
    found = params.get("max_tokens") or params.get("max_completion_tokens")
    return found if isinstance(found, int) else None
