"""`status`: what a configuration declares, as the router understands it: keys, who shares which limits, budgets."""

from __future__ import annotations

from decimal import Decimal

from apikeyrouter.cli.found import router_of
from apikeyrouter.cli.page import Line, Page, Table, count, dollars
from apikeyrouter.config import Config
from apikeyrouter.core.budget import Budget
from apikeyrouter.core.policy import EFFECTS, Policy
from apikeyrouter.summary import KeyStatus, PoolStatus, StateSummary, WindowStatus


def status(config: Config) -> tuple[Page, dict[str, object]]:
    """The page and the data of a configuration nobody has used yet."""
    summary = router_of(config).get_state_summary()
    page: list[Line | Table] = [
        Line(f"{config.path or 'configuration'}: {summary.line}", "title"),
        _keys(config, summary.keys),
        _pools(summary),
    ]
    if config.budgets:
        page.append(_budgets(config.budgets))
    if config.policies:
        page.append(_policies(config))
    if config.aliases:
        rows = [(name, ", ".join(targets)) for name, targets in config.aliases.items()]
        page.append(Table(("model", "stands for"), rows, "Aliases"))
    weights = ", ".join(f"{name} {weight:g}" for name, weight in config.objective.weights.items())
    page.append(Line(f"Objective: {config.objective.name} ({weights})."))
    page += [Line(str(warning), "warn") for warning in config.warnings]
    return page, data(config, summary)


def data(config: Config, summary: StateSummary) -> dict[str, object]:
    """The same for programs. Money as text in dollars, `remaining` in the limit's own unit."""
    return {
        "config": str(config.path) if config.path else None,
        "providers": {name: entry.adapter for name, entry in config.providers.items()},
        "keys": [_key_data(config, key) for key in summary.keys],
        "pools": [_pool_data(pool, summary) for pool in summary.pools],
        "budgets": [_budget_data(budget) for budget in config.budgets],
        "policies": [{"id": p.id, "scope": p.scope, "enabled": p.enabled} for p in config.policies],
        "aliases": dict(config.aliases),
        "objective": {"name": config.objective.name, "weights": dict(config.objective.weights)},
        "warnings": [str(warning) for warning in config.warnings],
    }


def _keys(config: Config, keys: tuple[KeyStatus, ...]) -> Table:
    rows = [
        (
            key.id,
            key.provider,
            ", ".join(key.pools),
            str(key.state),
            ", ".join(config.keys[key.id].models) or "any",
            " ".join(f"{name}={value}" for name, value in key.tags.items()),
            config.keys[key.id].source,
        )
        for key in keys
    ]
    return Table(("key", "provider", "pools", "state", "models", "tags", "secret"), rows, "Keys")


def _key_data(config: Config, key: KeyStatus) -> dict[str, object]:
    entry = config.keys[key.id]
    return {
        "id": key.id,
        "provider": key.provider,
        "pools": list(key.pools),
        "state": str(key.state),
        "models": list(entry.models),
        "tags": dict(key.tags),
        "tier": entry.tier,
        "weight": entry.weight,
        "secret": entry.source,
    }


def sharers(summary: StateSummary, pool: str) -> tuple[str, ...]:
    """The keys that draw from a pool."""
    return tuple(key.id for key in summary.keys if pool.partition("[")[0] in key.pools)


def shared(keys: tuple[str, ...]) -> str:
    """`a1 a2 a3 (3 keys, 1 quota)`."""
    return " ".join(keys) + (f" ({len(keys)} keys, 1 quota)" if len(keys) > 1 else "")


def _pools(summary: StateSummary) -> Table:
    rows = []
    for pool in summary.pools:
        windows = [f"{count(w.limit)} {w.name}" for w in pool.windows]
        keys = sharers(summary, pool.id)
        rows.append((pool.id, shared(keys) or "nobody", ", ".join(windows) or "unknown, learned from answers"))
    return Table(("pool", "shared by", "limits"), rows, "Pools")


def _pool_data(pool: PoolStatus, summary: StateSummary) -> dict[str, object]:
    return {
        "id": pool.id,
        "state": str(pool.state),
        "keys": list(sharers(summary, pool.id)),
        "windows": [_window_data(window) for window in pool.windows],
    }


def _window_data(window: WindowStatus) -> dict[str, object]:
    return {"name": window.name, "limit": window.limit, "remaining": window.remaining, "held": window.held}


def _budgets(budgets: tuple[Budget, ...]) -> Table:
    rows = [(b.name, b.scope, dollars(Decimal(b.limit), 2), b.period, b.mode, b.timezone) for b in budgets]
    return Table(("budget", "scope", "limit", "period", "mode", "zone"), rows, "Budgets", frozenset({2}))


def _policies(config: Config) -> Table:
    rows = [(p.id, p.scope, str(p.when or "always"), ", ".join(_effects(p))) for p in config.policies if p.enabled]
    return Table(("policy", "scope", "when", "does"), rows, "Policies")


def _effects(policy: Policy) -> list[str]:
    """What a policy does, as `require {'tags.region': 'eu'}`."""
    return [f"{name} {value}" for name in EFFECTS if (value := getattr(policy, name))]


def _budget_data(budget: Budget) -> dict[str, object]:
    return {
        "id": budget.name,
        "scope": budget.scope,
        "limit": Decimal(budget.limit),
        "spent": Decimal(budget.spent),
        "period": budget.period,
        "timezone": budget.timezone,
        "mode": budget.mode,
    }
