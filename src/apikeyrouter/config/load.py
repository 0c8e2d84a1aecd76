"""From a file or a mapping to a Config, or to one error with everything that is wrong.

The order is: parse, fill in variables, read each section, then look whether the sections agree with each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from apikeyrouter.config import choices, money
from apikeyrouter.config.environ import Environ, Expansion, environ_for
from apikeyrouter.config.keys import Look, join_pools, read_keys, read_pools
from apikeyrouter.config.model import Config, KeyEntry
from apikeyrouter.config.policies import read_policies
from apikeyrouter.config.problems import failure
from apikeyrouter.config.providers import read_providers
from apikeyrouter.config.reader import Reader
from apikeyrouter.config.server import check_address, read_server, read_state
from apikeyrouter.config.tree import Node, of_file, of_mapping
from apikeyrouter.core.budget import Budget

SECTIONS: Final = (
    "audit", "budgets", "keys", "models", "objective", "policies", "pools", "prices", "providers", "proxy",
    "retention", "settings", "state",
)  # fmt: skip
_EXAMPLE: Final = "{providers: {...}, keys: {...}}"

Source = str | Path | Mapping[str, object]


def load(source: Source, *, environ: Environ | None = None, secrets: bool = True) -> Config:
    """A Config from a YAML, TOML or JSON file, or from a mapping of the same shape.

    `environ` replaces the process's environment; a `.env` beside the file adds to it. Without `secrets` no material is
    read and missing ones are no mistake: enough to look at a configuration. Raises MissingConfigurationError for a file
    that is not there and InvalidConfigurationError, with all of its `problems`, for one that is wrong.
    """
    path = None if isinstance(source, Mapping) else Path(source)
    tree, problems = (of_mapping(source), []) if isinstance(source, Mapping) else of_file(Path(source))
    reader = Reader("" if path is None else str(path), problems)
    variables = environ_for(path.absolute().parent if path is not None else None, environ)
    expansion = Expansion(variables, reader, {})
    expansion.into(tree)
    look = Look(variables, wanted=secrets)
    config = _read(reader, tree, variables, look)
    if reader.problems:
        raise failure(reader.file, [replace(p, sentence=expansion.hide(p.sentence)) for p in reader.problems])
    return replace(config, path=path, warnings=tuple(reader.warnings))


def _read(reader: Reader, tree: Node, variables: Environ, look: Look) -> Config:
    given = reader.fields(tree, _known(tree), _EXAMPLE)
    providers = read_providers(reader, given.get("providers"))
    pools, shared = read_pools(reader, given.get("pools"))
    keys = join_pools(reader, read_keys(reader, given.get("keys"), providers, pools, look), shared)
    _check_prices(reader, given.get("keys"), keys)
    budgets = money.read_budgets(reader, given.get("budgets"))
    aliases = choices.read_aliases(reader, given.get("models"), providers)
    known = {"provider": set(providers), "pool": set(pools) | set(keys), "key": set(keys), "route": set(aliases)}
    _check_scopes(reader, given.get("budgets"), budgets, known)
    audit = choices.read_audit(reader, given.get("audit"), given.get("retention"))
    if audit is not None:
        check_address(reader, given.get("audit"), audit.url)
    return Config(
        providers=providers,
        pools=pools,
        keys=keys,
        budgets=budgets,
        policies=read_policies(reader, given.get("policies")),
        objective=choices.read_objective(reader, given.get("objective")),
        aliases=aliases,
        prices=money.read_prices(reader, given.get("prices"), providers),
        settings=choices.read_settings(reader, given.get("settings")),
        state=read_state(reader, given.get("state"), variables),
        audit=audit,
        server=read_server(reader, given.get("proxy"), given.get("settings"), variables),
    )


def _known(tree: Node) -> tuple[str, ...]:
    """Sections, and names with `x-`, where people keep what they refer to with anchors."""
    own = tuple(name for name in tree.value if name.startswith("x-")) if isinstance(tree.value, dict) else ()
    return (*SECTIONS, *own)


def _check_prices(reader: Reader, node: Node | None, keys: Mapping[str, KeyEntry]) -> None:
    """A price belongs to a provider's model, so that two keys cannot serve the same one free and for money."""
    for free in (key for key in keys.values() if key.free):
        for paid in (key for key in keys.values() if key.provider == free.provider and not key.free):
            if _overlap(free.models, paid.models) and node is not None:
                at = node.child(free.id) or node
                reader.add(
                    at.child("price") or at,
                    f"is free, but key '{paid.id}' serves the same models of '{free.provider}' for money; "
                    f"give the free ones a provider of their own",
                )


def _overlap(some: tuple[str, ...], others: tuple[str, ...]) -> bool:
    if not some or not others:
        return True
    return any(fnmatchcase(a, b) or fnmatchcase(b, a) for a in some for b in others)


def _check_scopes(
    reader: Reader, node: Node | None, budgets: tuple[Budget, ...], known: Mapping[str, set[str]]
) -> None:
    """A budget for something that does not exist never applies, which is hardly meant."""
    for budget in budgets:
        names = known.get(budget.kind)
        if names is None or node is None or any(fnmatchcase(name, budget.subject) for name in names):
            continue
        at = node.child(budget.name) or node
        what = {"route": "alias"}.get(budget.kind, budget.kind)
        reader.warn(
            at.child("scope") or at, f"no {what} is called '{budget.subject}', so this budget covers nothing yet"
        )
