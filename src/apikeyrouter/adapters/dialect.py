"""How each provider speaks, read from `data/providers/*.yaml`: addresses, error rules, quota headers, usage paths.

A table has a source and a date, because providers change; a correction is a line of data, not code. A table may build
on another (`family`): its own rules come first, then the family's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final
from urllib.parse import urlsplit

import yaml

from apikeyrouter.adapters.narrow import items, mapping, text
from apikeyrouter.adapters.rules import Problems, limit_table, paths, rules
from apikeyrouter.adapters.spoken_rules import spoken_table
from apikeyrouter.adapters.usage import UsagePaths, usage_paths
from apikeyrouter.core.classify import ErrorTable
from apikeyrouter.core.headers import LimitTable
from apikeyrouter.errors import InvalidConfigurationError

_HEAD: Final = frozenset({"schema", "name", "date", "sources", "notes", "family", "base_url", "hosts"})
_WORDS: Final = _HEAD | {"options", "errors", "limits", "usage"}
_ERROR_WORDS: Final = frozenset({"codes", "messages", "waits", "rules", "owners", "quotas", "headers"})
_SCHEMA: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One provider's way of speaking. `options` are switches its adapter understands."""

    name: str
    date: str
    sources: tuple[str, ...]
    base_url: str | None
    hosts: tuple[str, ...]
    options: Mapping[str, object]
    errors: ErrorTable
    limits: LimitTable
    usage: UsagePaths


def names() -> tuple[str, ...]:
    """The dialects shipped with the package, sorted."""
    return tuple(sorted(entry.name[:-5] for entry in _folder().iterdir() if entry.name.endswith(".yaml")))


@cache
def dialect(name: str) -> Dialect:
    """A shipped dialect. Raises InvalidConfigurationError for an unknown name, or a table with mistakes."""
    if not re.fullmatch(r"[a-z0-9_-]{1,64}", name) or name not in names():
        raise InvalidConfigurationError(f"dialect '{name}' is unknown; use one of {', '.join(names())}")
    raw: object = yaml.safe_load(_folder().joinpath(f"{name}.yaml").read_text("utf-8"))
    return parse_dialect(mapping(raw), name)


@cache
def dialect_for(base_url: str, default: str) -> Dialect:
    """The dialect whose hosts include the address's; an unknown host speaks the default."""
    host = (urlsplit(base_url).hostname or "").lower()
    found = next((name for name, hosts in _hosts().items() if any(_is_host(host, one) for one in hosts)), default)
    return dialect(found)


def parse_dialect(raw: Mapping[str, object], where: str) -> Dialect:
    """A dialect from data. Raises InvalidConfigurationError with every mistake."""
    problems = Problems([])
    problems.unknown(where, raw, _WORDS)
    if raw.get("schema") != _SCHEMA:
        problems.add(where, f"schema is {raw.get('schema')!r}; this version reads {_SCHEMA}")
    family = dialect(text(raw["family"])) if "family" in raw else None
    made = _build(raw, family, where, problems)
    if problems.found:
        raise InvalidConfigurationError("; ".join(problems.found), problems=tuple(problems.found))
    return made


def _build(raw: Mapping[str, object], family: Dialect | None, where: str, problems: Problems) -> Dialect:
    inherited = family.options if family is not None else {}
    return Dialect(
        name=text(raw.get("name")),
        date=str(raw.get("date", "")),
        sources=tuple(text(source) for source in items(raw.get("sources"))),
        base_url=text(raw.get("base_url")) or None,
        hosts=tuple(text(host) for host in items(raw.get("hosts"))),
        options={**inherited, **mapping(raw.get("options"))},
        errors=_errors(mapping(raw.get("errors")), family, f"{where}.errors", problems),
        limits=family.limits
        if family is not None and "limits" not in raw
        else limit_table(raw.get("limits"), f"{where}.limits", problems),
        usage=family.usage
        if family is not None and "usage" not in raw
        else usage_paths(raw.get("usage"), f"{where}.usage", problems),
    )


def _errors(raw: Mapping[str, object], family: Dialect | None, where: str, problems: Problems) -> ErrorTable:
    problems.unknown(where, raw, _ERROR_WORDS)
    base = family.errors if family is not None else ErrorTable()
    return ErrorTable(
        rules=rules(raw.get("rules"), f"{where}.rules", problems) + base.rules,
        codes=paths(raw.get("codes"), f"{where}.codes", problems) or base.codes,
        messages=paths(raw.get("messages"), f"{where}.messages", problems) or base.messages,
        waits=paths(raw.get("waits"), f"{where}.waits", problems) or base.waits,
        spoken=spoken_table(raw, where, problems, base.spoken),
    )


def tells_limits(speech: Dialect) -> frozenset[str]:
    """The feature `rate_limit` where answers carry quota headers, so that limits need not be configured."""
    return frozenset({"rate_limit"} if speech.limits.rows or speech.limits.structured else ())


def _folder() -> Traversable:
    return files("apikeyrouter") / "data" / "providers"


@cache
def _hosts() -> Mapping[str, tuple[str, ...]]:
    """Hosts of every dialect, found without parsing the rest of each table."""
    found: dict[str, tuple[str, ...]] = {}
    for name in names():
        line = re.search(r"(?m)^hosts:\s*\[([^\]]*)\]", _folder().joinpath(f"{name}.yaml").read_text("utf-8"))
        if line is not None:
            found[name] = tuple(host.strip(" \"'") for host in line.group(1).split(",") if host.strip())
    return found


def _is_host(host: str, pattern: str) -> bool:
    return host == pattern or (pattern.startswith("*") and host.endswith(pattern[1:]))
