"""Providers of a configuration. Their adapters know their own options, so each is built once to be checked.

Building opens nothing. What an adapter refuses becomes a problem at the place it is about; which adapters there are is
adapters/factory.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from apikeyrouter.adapters.base import BaseAdapter
from apikeyrouter.adapters.dialect import dialect_for
from apikeyrouter.adapters.factory import build as make
from apikeyrouter.adapters.factory import known
from apikeyrouter.config.model import ProviderEntry
from apikeyrouter.config.reader import Reader
from apikeyrouter.config.tree import Node
from apikeyrouter.core.health import Probe
from apikeyrouter.enrolment import PROVIDER_ID
from apikeyrouter.errors import ConfigurationError, InvalidConfigurationError
from apikeyrouter.ports import Adapter

DECLARATIVE: Final = "http"
_OURS: Final = ("adapter", "metadata", "price", "price_name", "probe")
_PROBE: Final = "{every: 30s, jitter: 0.1, timeout: 5s}"
_EXAMPLE: Final = "{adapter: openai}"

Now = Callable[[], float]


def read_providers(reader: Reader, node: Node | None) -> dict[str, ProviderEntry]:
    """Every provider, each checked by building its adapter."""
    found: dict[str, ProviderEntry] = {}
    for name, each in reader.mapping(node, f"{{openai: {_EXAMPLE}}}").items():
        if not PROVIDER_ID.fullmatch(name):
            reader.add(each, "a provider's id has only a-z, 0-9, _ and -; rename it")
        found[name] = _provider(reader, name, each)
    return found


def _provider(reader: Reader, name: str, node: Node) -> ProviderEntry:
    given = reader.mapping(node, _EXAMPLE)
    entry = ProviderEntry(
        id=name,
        adapter=_kind(reader, node, given),
        options={word: child.plain() for word, child in given.items() if word not in _OURS},
        price_name=reader.text(given.get("price_name"), "openai") or None,
        free=free(reader, given.get("price")),
        probe=_probe(reader, given),
        metadata={word: child.plain() for word, child in reader.mapping(given.get("metadata"), "{team: a}").items()},
    )
    if entry.adapter:
        _try(reader, entry, node)
    return entry


def _probe(reader: Reader, given: Mapping[str, Node]) -> Probe | None:
    """`probe: 30s`, or a mapping that says more."""
    node = given.get("probe")
    if node is None or node.value is None:
        return None
    if given.get("adapter", node).value == DECLARATIVE and "health" not in given:
        reader.add(node, "has nothing to ask; name the cheapest operation as `health:` of this provider")
    if not isinstance(node.value, dict):
        return Probe(every_s=reader.seconds(node, 30.0))
    words = reader.fields(node, ("every", "jitter", "timeout"), _PROBE)
    if "every" not in words:
        reader.add(node, f"has no `every`; write it as {_PROBE}")
    return Probe(
        every_s=reader.seconds(words.get("every"), 30.0),
        jitter=reader.number(words.get("jitter"), 0.1, most=1.0),
        timeout_s=reader.seconds(words.get("timeout"), 5.0),
    )


def _kind(reader: Reader, node: Node, given: Mapping[str, Node]) -> str:
    if "adapter" in given and given["adapter"].value is not None:
        return reader.choice(given["adapter"], known(), "")
    if isinstance(node.value, dict | None):
        reader.add(node, f"has no `adapter`; write one of openai, anthropic, gemini, http, as {_EXAMPLE}")
    return ""


def free(reader: Reader, node: Node | None) -> bool:
    """`price: free`, the only price a provider or key can state by itself."""
    return reader.choice(node, ("free",), "") == "free" if node is not None else False


def _try(reader: Reader, entry: ProviderEntry, node: Node) -> None:
    try:
        build(entry)
    except InvalidConfigurationError as error:
        for sentence in error.problems:
            _place(reader, node, sentence)
    except ConfigurationError as error:
        reader.add_error(node, error)


def _place(reader: Reader, node: Node, sentence: str) -> None:
    """An adapter's sentence begins with its path, and then often with the word that is wrong."""
    path, colon, rest = sentence.partition(": ")
    at, said = (node.find(path), rest) if colon and path.startswith(node.path) else (node, sentence)
    word = said.partition(" ")[0].strip("'")
    reader.add_error(at.child(word) or at, InvalidConfigurationError(said))


def build(entry: ProviderEntry, now: Now = time.time) -> Adapter:
    """The adapter of a provider. Raises InvalidConfigurationError with what it refuses."""
    made = make(entry.adapter, entry.options, where=f"providers.{entry.id}")
    made.clock = now
    return made


def price_name(entry: ProviderEntry, adapter: Adapter) -> str:
    """What price lists call a provider: as stated, else its dialect where the address proves it, else its own id."""
    if (
        entry.price_name is not None
        or entry.free
        or entry.adapter == DECLARATIVE
        or not isinstance(adapter, BaseAdapter)
    ):
        return entry.price_name or entry.id
    address = entry.options.get("base_url")
    proven = not isinstance(address, str) or dialect_for(address, "generic").name == adapter.speech.name
    return adapter.speech.name if proven else entry.id
