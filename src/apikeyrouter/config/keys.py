"""Keys and pools of a configuration: who speaks with which material, and who shares a limit with whom.

A key's text may be its material pasted in the wrong place, so nothing below `keys` is ever quoted but references to
other sections.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from apikeyrouter.config.environ import Environ
from apikeyrouter.config.limits import read_limits
from apikeyrouter.config.model import KeyEntry, ProviderEntry
from apikeyrouter.config.providers import free
from apikeyrouter.config.reader import Reader
from apikeyrouter.config.tree import Node
from apikeyrouter.core.window import Limit
from apikeyrouter.credentials import Secret, resolve
from apikeyrouter.enrolment import KEY_ID
from apikeyrouter.errors import ConfigurationError

_WORDS: Final = (
    "label", "limits", "metadata", "models", "pool", "price", "provider", "quality", "secret", "tags", "tier", "weight",
)  # fmt: skip
_POOL_WORDS: Final = ("limits", "shared_by")
_EXAMPLE: Final = "{provider: openai, secret: env:OPENAI_KEY}"
_POOL_EXAMPLE: Final = "{limits: {rpm: 500}, shared_by: [key-1, key-2]}"
_SOURCES: Final = ("env", "file", "keyring")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
IN_THE_FILE: Final = "the configuration itself"


def read_pools(reader: Reader, node: Node | None) -> tuple[dict[str, tuple[Limit, ...]], dict[str, list[Node]]]:
    """Limits by pool, and the names each says share it."""
    limits: dict[str, tuple[Limit, ...]] = {}
    shared: dict[str, list[Node]] = {}
    for name, each in reader.mapping(node, f"{{org-a: {_POOL_EXAMPLE}}}").items():
        if not KEY_ID.fullmatch(name):
            reader.add(each, "a pool's id has up to 64 of a-z, 0-9, '.', _ and -; rename it")
        given = reader.fields(each, _POOL_WORDS, _POOL_EXAMPLE)
        limits[name] = read_limits(reader, given.get("limits"))
        shared[name] = reader.items(given.get("shared_by"), "[key-1, key-2]")
    return limits, shared


def read_keys(
    reader: Reader, node: Node | None, providers: Mapping[str, ProviderEntry], pools: Mapping[str, object], look: Look
) -> dict[str, KeyEntry]:
    """Every key. `look` reads material, or does not."""
    found: dict[str, KeyEntry] = {}
    for name, each in reader.mapping(node, f"{{openai-1: {_EXAMPLE}}}").items():
        if not KEY_ID.fullmatch(name):
            reader.add(each, "a key's id has up to 64 of a-z, 0-9, '.', _ and -, no capitals; rename it")
        if name in pools:
            reader.add(each, "a pool has the same name, which would be this key's own pool; rename one of them")
        found[name] = _key(reader, name, each, providers, pools, look)
    look.check_twice(reader, node)
    return found


def _key(
    reader: Reader,
    name: str,
    node: Node,
    providers: Mapping[str, ProviderEntry],
    pools: Mapping[str, object],
    look: Look,
) -> KeyEntry:
    given = reader.fields(node, _WORDS, _EXAMPLE)
    return KeyEntry(
        id=name,
        provider=_provider(reader, node, given.get("provider"), providers),
        source=look.source(given.get("secret")),
        secret=look.secret(reader, name, node, given.get("secret")),
        pools=_pools(reader, given.get("pool"), pools),
        limits=read_limits(reader, given.get("limits")),
        models=reader.texts(given.get("models"), "gpt-4o*"),
        tags=reader.table(given.get("tags"), "{region: eu}"),
        metadata={word: child.plain() for word, child in reader.mapping(given.get("metadata"), "{team: a}").items()},
        weight=reader.positive(given.get("weight"), 1.0),
        tier=reader.whole(given.get("tier")),
        quality=reader.number(given.get("quality"), 0.5, most=1.0),
        label=reader.text(given.get("label"), "the team's key"),
        free=free(reader, given.get("price")),
    )


def _provider(reader: Reader, node: Node, named: Node | None, providers: Mapping[str, ProviderEntry]) -> str:
    if named is None or named.value in (None, ""):
        if isinstance(node.value, dict | None):
            reader.add(named or node, f"has no `provider`; write it as {_EXAMPLE}")
        return ""
    name = reader.text(named, "openai")
    if name:
        reader.refer(named, name, providers, "providers")
    return name


def _pools(reader: Reader, node: Node | None, pools: Mapping[str, object]) -> tuple[str, ...]:
    names = reader.texts(node, "org-a")
    for name in names if node is not None else ():
        reader.refer(node, name, pools, "pools") if node is not None else None
    return names


def join_pools(reader: Reader, keys: Mapping[str, KeyEntry], shared: Mapping[str, list[Node]]) -> dict[str, KeyEntry]:
    """The keys with the pools that name them added to the ones they name."""
    joined = dict(keys)
    for pool, members in shared.items():
        for node in members:
            name = reader.text(node, "key-1")
            if name and reader.refer(node, name, joined, "keys") and pool not in joined[name].pools:
                joined[name] = replace(joined[name], pools=(*joined[name].pools, pool))
    return joined


class Look:
    """How material is read: from the environment in force, or not at all where only the shape is wanted."""

    def __init__(self, environ: Environ, *, wanted: bool = True) -> None:
        self.environ = environ
        self.wanted = wanted
        self.owners: dict[Secret, list[str]] = {}
        self.literals: list[str] = []

    def source(self, node: Node | None) -> str:
        """Where a material comes from, fit to be shown."""
        text = node.value if node is not None else ""
        if isinstance(text, str):
            scheme, colon, rest = text.partition(":")
            if colon and scheme in _SOURCES:
                return text if scheme != "env" or _VARIABLE.fullmatch(rest) else "env:?"
            if text.startswith("${") and _VARIABLE.fullmatch(text[2:-1]):
                return f"env:{text[2:-1]}"
        return IN_THE_FILE

    def secret(self, reader: Reader, name: str, key: Node, node: Node | None) -> Secret | None:
        if node is None or node.value in (None, ""):
            if isinstance(key.value, dict | None):
                reader.add(node or key, "has no `secret`; write env:NAME, file:/path or keyring:name")
            return None
        if isinstance(node.value, Secret):
            return self._owned(name, node.value)
        if not isinstance(node.value, str):
            reader.add(node, "is no text; write env:NAME, file:/path or keyring:name")
            return None
        source = self.source(node)
        if source == "env:?":
            reader.add(node, "is no name of a variable after `env:`; write it as env:OPENAI_KEY")
            return None
        if source == IN_THE_FILE:
            self.literals.append(node.value)
            reader.warn(node, "is in the file itself; keep it in the environment or a file of its own (env:, file:)")
        return self._resolved(reader, name, node, node.value) if self.wanted else None

    def _resolved(self, reader: Reader, name: str, node: Node, text: str) -> Secret | None:
        try:
            return self._owned(name, resolve(text, name=f"key '{name}'", environ=self.environ))
        except ConfigurationError as error:
            reader.add_error(node, error)
            return None

    def _owned(self, name: str, secret: Secret) -> Secret:
        self.owners.setdefault(secret, []).append(name)
        return secret

    def check_twice(self, reader: Reader, node: Node | None) -> None:
        """The same material under two names would be counted as two quotas."""
        for names in self.owners.values():
            for name in names[1:]:
                at = node.child(name) if node is not None else None
                if at is not None:
                    reader.add(at.child("secret") or at, f"is the same material as key '{names[0]}'; keep one of them")
