"""Moves a router to a configuration: fills an empty one, changes a running one in place, by id, all or nothing.

Everything that can fail is done first, without touching the router; what is left is assignments under its lock. Objects
stay where they are (a key keeps its history, a pool its level, a budget its spend), so requests under way notice
nothing. What leaves the file drains: nobody is sent there any more, and what is open ends as it began.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from apikeyrouter import prices
from apikeyrouter.config import Config, KeyEntry, PriceEntry, load
from apikeyrouter.config.money import price
from apikeyrouter.config.providers import build, price_name
from apikeyrouter.core.key import Key, Trigger
from apikeyrouter.core.policy import Policy
from apikeyrouter.core.price import Price, PriceBook
from apikeyrouter.core.rates import Row
from apikeyrouter.core.window import Limit
from apikeyrouter.enrolment import Enrolment, KeyOptions, joined, operation_limits
from apikeyrouter.errors import InvalidConfigurationError
from apikeyrouter.ports import Adapter
from apikeyrouter.router import Router

if TYPE_CHECKING:
    from apikeyrouter.facade import ApiKeyRouter

BY_HAND: Final = "configuration"
"""The source of prices that a file states; a reload withdraws them together."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What a router was last filled with, and which of its parts arguments of the constructor have fixed."""

    config: Config
    fixed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Change:
    """What a reload did: names such as `keys.openai-a1`, in the order of the file."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def fill(router: ApiKeyRouter, config: Config, *, fixed: Iterable[str] = ()) -> None:
    """Put everything a configuration names into a new router."""
    router.filled = Filled(
        Config(budgets=config.budgets, policies=config.policies, state=config.state, audit=config.audit),
        frozenset(fixed),
    )
    apply(router, config)


def reload(
    router: ApiKeyRouter,
    source: str | Path | Mapping[str, object] | Config,
    *,
    environ: Mapping[str, str] | None = None,
) -> Change:
    """Move a running router to another configuration. On any error nothing has changed and the old one stays.

    Raises MissingConfigurationError and InvalidConfigurationError, with every problem.
    """
    return apply(router, source if isinstance(source, Config) else load(source, environ=environ))


def apply(router: ApiKeyRouter, config: Config) -> Change:
    """Make the router what `config` says; see the module's docstring."""
    filled = router.filled or Filled(Config())
    step = _Step(router.enrolment, filled.config, config, filled.fixed)
    step.check()
    book = router.policing.prepare(step.policies(router.policing.policies)) if step.policies_changed else None
    engine = router.enrolment.router
    with engine.lock:
        step.providers()
        step.prices()
        step.pools()
        step.keys()
        step.rest()
        if book is not None:
            router.policing.install(book)
        engine.registry.changed()
    router.filled = Filled(config, filled.fixed)
    router.enrolment.woken()
    return step.change


class _Step:
    """From one configuration to the next. `check` may raise; the other methods run under the lock and may not."""

    def __init__(self, enrolment: Enrolment, old: Config, new: Config, fixed: frozenset[str]) -> None:
        self.enrolment = enrolment
        self.router: Router = enrolment.router
        self.old = old
        self.new = new
        self.fixed = fixed
        self.now = self.router.now()
        self.adapters: dict[str, Adapter] = {
            name: build(entry, self.router.now)
            for name, entry in new.providers.items()
            if entry != old.providers.get(name)
        }
        self.change = _difference(old, new)
        self.policies_changed = "policies" not in fixed and old.policies != new.policies
        self.lists: PriceBook | None = None

    # -- what may fail ----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Refuse what cannot be changed while running, and what somebody else has registered already."""
        problems = [
            f"`{part}` cannot change while the router runs; restart it to move there"
            for part in ("state", "audit")
            if part not in self.fixed and getattr(self.old, part) != getattr(self.new, part)
        ]
        registry = self.router.registry
        owners = {f: k for f, k in registry.fingerprints.items() if k not in self.old.keys}
        for name, entry in self.new.keys.items():
            if name not in self.old.keys and name in registry.keys:
                problems.append(
                    f"keys.{name}: a key of this id was registered by hand; revoke it, or rename one of them"
                )
            owner = owners.get(self.enrolment.fingerprint(entry.secret)) if entry.secret is not None else None
            if owner is not None and owner != name:
                problems.append(f"keys.{name}: its material is registered by hand as key '{owner}'; keep one of them")
        if problems:
            raise InvalidConfigurationError("; ".join(problems), problems=tuple(problems))
        named = self.new.settings.price_list
        if "prices" not in self.fixed and "settings" not in self.fixed and (named or self.old.settings.price_list):
            self.lists = prices.load(local=prices.file_of(named))  # the file may say something else than it did

    def policies(self, in_force: Iterable[Policy]) -> tuple[Policy, ...]:
        """The file's policies, and those that were made by hand."""
        filed = {policy.id for policy in (*self.old.policies, *self.new.policies)}
        return (*(policy for policy in in_force if policy.id not in filed), *self.new.policies)

    # -- what may not -----------------------------------------------------------------------------------------------

    def providers(self) -> None:
        for name, adapter in self.adapters.items():
            before = self.enrolment.adapters.get(name)
            if before is not None:
                self.enrolment.retired.append(before)
            entry = self.new.providers[name]
            self.enrolment.enter(name, adapter, price_name(entry, adapter), entry.metadata, probe=entry.probe)
        for name in self.old.providers.keys() - self.new.providers.keys():
            self.router.registry.remove_provider(name)
            self.enrolment.probes.pop(name, None)

    def prices(self) -> None:
        book = self.router.registry.prices
        if self.lists is not None:
            book.adopt(self.lists)
        elif not self.adapters and _priced(self.old) == _priced(self.new):
            return
        book.withdraw(BY_HAND)
        names = {n: price_name(entry, self.enrolment.adapters[n]) for n, entry in self.new.providers.items()}
        for provider, glob in _free(self.new):
            book.override(names[provider], glob, _free_price())
        for entry in self.new.prices:
            stated = price(entry) if entry.rates else _free_price()
            book.override(None if entry.provider is None else names[entry.provider], entry.glob, stated)
        self.router.registry.refresh_prices()

    def pools(self) -> None:
        extra: dict[str, tuple[Limit, ...]] = {}
        for entry in self.new.keys.values():
            if entry.pools:
                extra[entry.pools[-1]] = joined(extra.get(entry.pools[-1], ()), self._of_operations(entry))
        for name, limits in self.new.pools.items():
            self._limit(name, joined(limits, extra.get(name, ())))

    def _of_operations(self, entry: KeyEntry) -> tuple[Limit, ...]:
        """What the description of a key's provider limits for each account."""
        return operation_limits(self.enrolment.adapters.get(entry.provider))

    def _limit(self, name: str, limits: tuple[Limit, ...]) -> None:
        registry = self.router.registry
        if name not in registry.pool_limits:
            registry.add_pool(name, limits, self.now)
        elif registry.pool_limits[name] != limits:
            registry.change_pool(name, limits, self.now)

    def keys(self) -> None:
        for name in self.old.keys.keys() - self.new.keys.keys():
            self._remove(name)
        for name, entry in self.new.keys.items():
            before, key = self.old.keys.get(name), self.router.registry.keys.get(name)
            if before is None or key is None or before.provider != entry.provider:
                self._remove(name)
                self._limit_own(entry)
                self.enrolment.enrol(entry.secret, entry.provider, options(entry))
            elif before != entry or entry.provider in self.adapters:
                self._change(key, before, entry)

    def _remove(self, name: str) -> None:
        if name in self.router.registry.keys:
            self.router.registry.remove_key(name)
            self.router.secrets.pop(name, None)

    def _limit_own(self, entry: KeyEntry) -> None:
        """The pool of a key's own, or its caps inside shared ones, as the file has them now."""
        name = f"{entry.id}/caps" if entry.pools else entry.id
        limits = entry.limits if entry.pools else joined(entry.limits, self._of_operations(entry))
        if name in self.router.registry.pool_limits or limits or not entry.pools:
            self._limit(name, limits)

    def _change(self, key: Key, before: KeyEntry, entry: KeyEntry) -> None:
        if entry.secret is not None and before.secret != entry.secret:
            self.router.registry.rename_material(key, self.enrolment.fingerprint(entry.secret))
            self.router.secrets[key.id] = entry.secret
            self.router.note([key.apply(Trigger.ROTATION, self.now, actor="configuration")])
        self._limit_own(entry)
        caps = (f"{entry.id}/caps",) if entry.pools and entry.limits else ()
        key.pools = (*caps, *entry.pools) if entry.pools else (entry.id,)
        key.models, key.tier, key.weight = tuple(entry.models), entry.tier, entry.weight
        key.quality, key.label = entry.quality, entry.label
        key.metadata = MappingProxyType(dict(entry.metadata))
        self._retag(key, entry)

    def _retag(self, key: Key, entry: KeyEntry) -> None:
        registry = self.router.registry
        registry.tenants -= key.tenant is not None
        key.tags = MappingProxyType(dict(entry.tags))
        key.tenant = key.tags.get("tenant")
        registry.tenants += key.tenant is not None

    def rest(self) -> None:
        """Budgets, aliases, objective and settings; what an argument of the constructor fixed stays as it is."""
        router, old, new = self.router, self.old, self.new
        if "budgets" not in self.fixed and old.budgets != new.budgets:
            filed = {budget.name for budget in (*old.budgets, *new.budgets)}
            others = tuple(budget for budget in router.budgets.budgets if budget.name not in filed)
            router.budgets.replace((*others, *new.budgets), self.now)
            router.ledger.enter_budgets(self.now)
            router.asking.budgets_changed()
        for name in old.aliases.keys() - new.aliases.keys():
            router.registry.aliases.pop(name, None)
        router.registry.aliases.update({name: _targets(targets) for name, targets in new.aliases.items()})
        if "objective" not in self.fixed:
            router.asking.objective = new.objective
        if "settings" not in self.fixed:
            router.settings = new.settings
            router.asking.default_max_output = new.settings.default_max_output
            router.asking.price_unknown(new.settings.unknown_price, new.settings.assumed_price)
            router.registry.refresh_prices()


def options(entry: KeyEntry) -> KeyOptions:
    """A key's entry as register_key() takes it."""
    common = KeyOptions(
        id=entry.id,
        models=entry.models,
        tags=entry.tags,
        metadata=entry.metadata,
        tier=entry.tier,
        weight=entry.weight,
        quality=entry.quality,
        label=entry.label,
    )
    if entry.pools:
        return {**common, "pool": entry.pools, "caps": entry.limits}
    return {**common, "limits": entry.limits}


def _targets(targets: Iterable[str]) -> tuple[tuple[str, str], ...]:
    return tuple((provider, model) for provider, _, model in (target.partition("/") for target in targets))


def _free(config: Config) -> list[tuple[str, str]]:
    """(provider, glob) of everything that `price: free` covers."""
    found = [(name, "*") for name, entry in config.providers.items() if entry.free]
    return found + [(key.provider, glob) for key in config.keys.values() if key.free for glob in key.models or ("*",)]


def _free_price() -> Price:
    return Price(Row(provider="", id="free", source=BY_HAND))


def _priced(config: Config) -> tuple[list[tuple[str, str]], tuple[PriceEntry, ...]]:
    return _free(config), config.prices


def _difference(old: Config, new: Config) -> Change:
    added: list[str] = []
    changed: list[str] = []
    removed: list[str] = []
    for section in ("providers", "pools", "keys", "aliases"):
        before: Mapping[str, object] = getattr(old, section)
        after: Mapping[str, object] = getattr(new, section)
        _compare(section, before, after, added, changed, removed)
    by_name = [{each.id or "": each for each in config.budgets} for config in (old, new)]
    _compare("budgets", by_name[0], by_name[1], added, changed, removed)
    whole = ("policies", "objective", "prices", "settings", "server")
    changed += [section for section in whole if getattr(old, section) != getattr(new, section)]
    return Change(tuple(added), tuple(changed), tuple(removed))


def _compare(
    section: str,
    before: Mapping[str, object],
    after: Mapping[str, object],
    added: list[str],
    changed: list[str],
    removed: list[str],
) -> None:
    added += [f"{section}.{name}" for name in after if name not in before]
    changed += [f"{section}.{name}" for name in after if name in before and before[name] != after[name]]
    removed += [f"{section}.{name}" for name in before if name not in after]
