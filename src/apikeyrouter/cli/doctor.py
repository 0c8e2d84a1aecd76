"""`doctor`: what is wrong with a configuration, what is missing around it, and what will surprise its owner later.

It sends nothing. Secrets are read to see that they are there; of what they say nothing is shown.
"""

from __future__ import annotations

import os
import stat
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

from apikeyrouter.assembly import from_config
from apikeyrouter.cli.found import router_of
from apikeyrouter.cli.page import Line, Page, Style, Table
from apikeyrouter.config import Config, load
from apikeyrouter.errors import ConfigurationError, InvalidConfigurationError
from apikeyrouter.facade import ApiKeyRouter

Grade = Literal["ok", "warning", "problem"]

_NEEDS: Final = {
    "redis": ("redis", "redis"),
    "rediss": ("redis", "redis"),
    "mongodb": ("pymongo", "mongo"),
    "postgresql": ("sqlalchemy", "sql"),
}
"""What a store's scheme needs: the library, and the extra that brings it."""

_STYLES: Final[dict[Grade, Style]] = {"ok": "good", "warning": "warn", "problem": "bad"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `mend` is what to do about it, empty where all is well."""

    grade: Grade
    subject: str
    text: str
    mend: str = ""


def examine(path: Path) -> list[Finding]:
    """Everything found, in the order in which a person would look."""
    findings = [_python()]
    try:
        config = load(path, secrets=False)
    except InvalidConfigurationError as error:
        return [*findings, *(Finding("problem", "configuration", problem) for problem in error.problems)]
    except ConfigurationError as error:
        return [*findings, Finding("problem", "configuration", error.message)]
    findings.append(Finding("ok", "configuration", f"{path} is right: {_sizes(config)}"))
    findings += [Finding("warning", "configuration", str(warning)) for warning in config.warnings]
    for look in (_secrets, _dotenv, _pools, _prices, _stores, _parts):
        findings += look(config)
    return findings


def worst(findings: list[Finding]) -> Grade:
    grades = {finding.grade for finding in findings}
    return "problem" if "problem" in grades else "warning" if "warning" in grades else "ok"


def page_of(findings: list[Finding]) -> tuple[Page, dict[str, object]]:
    rows = [(f.grade, f.subject, f.text.rstrip(".") + (f"; {f.mend}" if f.mend else "")) for f in findings]
    problems = sum(f.grade == "problem" for f in findings)
    warnings = sum(f.grade == "warning" for f in findings)
    verdict = f"{problems} problems, {warnings} warnings." if problems or warnings else "All is well."
    data: dict[str, object] = {
        "verdict": worst(findings),
        "findings": [{"grade": f.grade, "subject": f.subject, "text": f.text, "mend": f.mend} for f in findings],
    }
    return [Table(("", "", ""), rows), Line(verdict, _STYLES[worst(findings)])], data


def _python() -> Finding:
    return Finding("ok", "python", f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}")


def _sizes(config: Config) -> str:
    parts = (
        (len(config.providers), "providers"),
        (len(config.keys), "keys"),
        (len(config.pools), "pools"),
        (len(config.budgets), "budgets"),
        (len(config.aliases), "aliases"),
    )
    return ", ".join(f"{number} {name}" for number, name in parts)


def _secrets(config: Config) -> Iterator[Finding]:
    """Whether every key's material is there."""
    try:
        if config.path is not None:
            load(config.path)
    except InvalidConfigurationError as error:
        for problem in error.problems:
            place, _, said = problem.partition(": keys.")
            yield Finding("problem", "secrets", said.partition(": ")[2] or problem, f"see {place}" if said else "")
        return
    yield Finding("ok", "secrets", f"{len(config.keys)} of {len(config.keys)} are there")


def _dotenv(config: Config) -> Iterator[Finding]:
    """A `.env` that others may read."""
    path = (config.path.parent if config.path else Path()) / ".env"
    if os.name == "posix" and path.exists() and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        yield Finding("warning", "secrets", f"{path} can be read by others on this machine", f"run: chmod 600 {path}")


def _pools(config: Config) -> Iterator[Finding]:
    """Keys of one provider that each count by themselves: right only if each has an organisation of its own."""
    alone: dict[str, list[str]] = defaultdict(list)
    for key in config.keys.values():
        if not key.pools:
            alone[key.provider].append(key.id)
    for provider, keys in alone.items():
        if len(keys) > 1:
            yield Finding(
                "warning",
                "pools",
                f"{', '.join(keys)} of '{provider}' have a quota each",
                "if one organisation owns them they share one: declare a pool with shared_by",
            )
    used = {pool for key in config.keys.values() for pool in key.pools}
    for pool in config.pools.keys() - used:
        yield Finding("warning", "pools", f"nobody uses pool '{pool}'", "name it in a key's `pool`, or take it out")
    several = {
        pool: {key.provider for key in config.keys.values() if pool in key.pools} for pool in sorted(config.pools)
    }
    for pool, providers in several.items():
        if len(providers) > 1:
            yield Finding(
                "warning",
                "pools",
                f"pool '{pool}' is shared across the providers {', '.join(sorted(providers))}",
                "providers rarely share a quota; give each a pool",
            )


def _prices(config: Config) -> Iterator[Finding]:
    """Models that are named somewhere and have no price: a hard budget refuses them."""
    registry = router_of(config).enrolment.router.registry
    named = {tuple(target.split("/", 1)) for targets in config.aliases.values() for target in targets}
    named |= {(k.provider, m) for k in config.keys.values() for m in k.models if not any(sign in m for sign in "*?[")}
    hard = any(budget.mode == "hard" for budget in config.budgets)
    unknown = sorted(
        f"{provider}/{model}"
        for provider, model in named
        if registry.prices.find(registry.providers[provider].price_name or provider, model) is None
    )
    for name in unknown:
        why = "a hard budget refuses what it cannot price" if hard else "its cost will not be counted"
        grade: Grade = "problem" if hard else "warning"
        yield Finding(grade, "prices", f"nobody knows the price of {name}: {why}", "state it under prices, or `free`")
    if named and not unknown:
        yield Finding("ok", "prices", f"all {len(named)} models that are named have one")


def _stores(config: Config) -> Iterator[Finding]:
    """Libraries that the addresses of state and audit need."""
    addresses = {"state": config.state, "audit": config.audit.url if config.audit else ""}
    for name, address in addresses.items():
        library, extra = _NEEDS.get(address.partition(":")[0].partition("+")[0], ("", ""))
        if library and find_spec(library) is None:
            yield Finding(
                "problem", name, f"{library} is not installed", f"install it with: pip install 'apikeyrouter[{extra}]'"
            )


def _parts(config: Config) -> Iterator[Finding]:
    """Whether this version can do all that the file asks for."""
    try:
        from_config(ApiKeyRouter, config, log=False)
    except ConfigurationError as error:
        yield Finding("problem", "router", error.message)
    else:
        yield Finding("ok", "router", "starts with this configuration")
