"""What a configuration says, checked and complete: plain frozen records, in the order of the file.

Nothing here reads a file or builds a router. `assembly` turns a Config into one, `reload` moves a running one to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from apikeyrouter.config.problems import Problem
from apikeyrouter.core.budget import Budget
from apikeyrouter.core.health import Probe
from apikeyrouter.core.policy import Policy
from apikeyrouter.core.score import DEFAULT, Objective
from apikeyrouter.core.window import Limit
from apikeyrouter.credentials import Secret
from apikeyrouter.settings import Settings

MEMORY: Final = "memory"

Rates = Mapping[str, str]
"""Dollars for a million tokens by kind (`core.rates.RATES`), for one `image` or `request`; empty means free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderEntry:
    """A provider. `options` are the adapter's own, checked by building it once; `free`: nothing it serves costs.

    `probe` says how often its keys are asked how it does, None: never.

    Options may hold what a variable stands for, so they are not shown.
    """

    id: str
    adapter: str
    options: Mapping[str, object] = field(repr=False)
    price_name: str | None = None
    free: bool = False
    metadata: Mapping[str, object] = field(default_factory=dict)
    probe: Probe | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEntry:
    """A key. `source` says where its material comes from; `secret` is None where it was not to be read.

    `pools` are declared ones, and `limits` then caps inside them; without, the limits of a pool of its own.
    """

    id: str
    provider: str
    source: str
    secret: Secret | None
    pools: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    models: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)
    weight: float = 1.0
    tier: int = 0
    quality: float = 0.5
    label: str = ""
    free: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceEntry:
    """A price by hand for the models that match `glob`, of one provider or (None) of any."""

    provider: str | None
    glob: str
    rates: Rates


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Where facts go. `block`: a reply waits for its commit. `retention` in seconds by kind."""

    url: str = field(repr=False)
    block: bool = False
    retention: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEntry:
    """What the proxy and the logs are told, by file or environment; secrets come from the environment only."""

    host: str = "127.0.0.1"
    port: int = 8000
    cors_origins: tuple[str, ...] = ()
    open: bool = False
    management_key: Secret | None = None
    master_key: Secret | None = None
    log_level: str = "INFO"
    metrics: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole configuration without mistakes. `path` is its file, None for a mapping; `warnings` are worth reading."""

    path: Path | None = None
    providers: Mapping[str, ProviderEntry] = field(default_factory=dict)
    pools: Mapping[str, tuple[Limit, ...]] = field(default_factory=dict)
    keys: Mapping[str, KeyEntry] = field(default_factory=dict)
    budgets: tuple[Budget, ...] = ()
    policies: tuple[Policy, ...] = ()
    objective: Objective = DEFAULT
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    prices: tuple[PriceEntry, ...] = ()
    settings: Settings = field(default_factory=Settings)
    state: str = field(default=MEMORY, repr=False)
    audit: AuditEntry | None = None
    server: ServerEntry = field(default_factory=ServerEntry)
    warnings: tuple[Problem, ...] = field(default=(), compare=False)
