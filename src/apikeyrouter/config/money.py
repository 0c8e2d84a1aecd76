"""Budgets and prices of the file. What a budget means is core/allowance.py; its sentences get their lines here."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Final

from apikeyrouter.config.model import PriceEntry, ProviderEntry
from apikeyrouter.config.reader import Reader
from apikeyrouter.config.tree import Node
from apikeyrouter.core.budget import Budget
from apikeyrouter.core.price import FREE, Price
from apikeyrouter.core.rates import RATES
from apikeyrouter.errors import InvalidConfigurationError

_WORDS: Final = ("downgrade", "limit", "mode", "period", "scope", "spent", "thresholds", "timezone")
_EXAMPLE: Final = "{scope: global, limit: 100 USD, period: day}"
_RATES: Final = '{input: "0.15", output: "0.60"}'
_SPEAKS_OF: Final = (
    ("time zone", "timezone"),
    ("thresholds", "thresholds"),
    ("downgrade", "downgrade"),
    ("spent", "spent"),
    ("scope", "scope"),
    ("period", "period"),
    ("mode", "mode"),
    ("limit", "limit"),
)
"""How a sentence about a budget tells which of its fields is meant; the first match counts."""


def read_budgets(reader: Reader, node: Node | None) -> tuple[Budget, ...]:
    found = [_budget(reader, name, each) for name, each in reader.mapping(node, f"{{daily: {_EXAMPLE}}}").items()]
    return tuple(budget for budget in found if budget is not None)


def _budget(reader: Reader, name: str, node: Node) -> Budget | None:
    given = reader.fields(node, _WORDS, _EXAMPLE)
    missing = [word for word in ("scope", "limit") if word not in given]
    if missing:
        for word in missing if isinstance(node.value, dict | None) else ():
            reader.add(node, f"has no `{word}`; write it as {_EXAMPLE}")
        return None
    before = len(reader.problems)
    thresholds = tuple(reader.number(each, 1.0) for each in reader.items(given.get("thresholds"), "[0.5, 0.8, 1.0]"))
    more = {"thresholds": thresholds} if "thresholds" in given else {}
    texts = {
        word: _text(reader, given[word]) for word in _WORDS if word in given and word not in ("downgrade", "thresholds")
    }
    downgrade = reader.table(given.get("downgrade"), "{gpt-4o: gpt-4o-mini}")
    if len(reader.problems) > before:
        return None
    try:
        return Budget(id=name, downgrade=downgrade, **texts, **more)  # type: ignore[arg-type]  # checked by Budget
    except InvalidConfigurationError as error:
        for sentence in error.problems:
            word = next((word for says, word in _SPEAKS_OF if says in sentence), "")
            reader.add_error(given.get(word, node), InvalidConfigurationError(sentence))
        return None


def _text(reader: Reader, node: Node) -> str:
    return reader.text(node, "100 USD")


def read_prices(reader: Reader, node: Node | None, providers: Mapping[str, ProviderEntry]) -> tuple[PriceEntry, ...]:
    """Prices by hand, in the order of the file: a later line wins over an earlier one."""
    found: list[PriceEntry] = []
    for name, each in reader.mapping(node, f"{{my-model*: {_RATES}}}").items():
        head, slash, rest = name.partition("/")
        owner, glob = (head, rest) if slash and head in providers else (None, name)
        rates = _rates(reader, each)
        if rates is not None:
            found.append(PriceEntry(provider=owner, glob=glob, rates=rates))
    return tuple(found)


def read_price(reader: Reader, node: Node) -> Price | None:
    """A price by itself, for whatever has no other."""
    rates = _rates(reader, node)
    if rates is None:
        return None
    return Price.of("assumed", source="assumed", **rates) if rates else FREE


def _rates(reader: Reader, node: Node) -> dict[str, str] | None:
    if node.value == "free":
        return {}
    if not isinstance(node.value, dict):
        reader.add(node, f"write dollars for a million tokens, as {_RATES}, or free")
        return None
    before = len(reader.problems)
    given = reader.fields(node, RATES, _RATES)
    for each in given.values():
        _check_dollars(reader, each)
    if not given and len(reader.problems) == before:
        reader.add(node, f"states no price; write it as {_RATES}, or free")
    return None if len(reader.problems) > before else {word: str(each.value) for word, each in given.items()}


def _check_dollars(reader: Reader, node: Node) -> None:
    try:
        right = (
            not isinstance(node.value, bool) and Decimal(str(node.value)).is_finite() and Decimal(str(node.value)) >= 0
        )
    except InvalidOperation:
        right = False
    if not right:
        reader.add(node, 'is no amount of dollars; write it as "0.15"')


def price(entry: PriceEntry) -> Price:
    """The price an entry states."""
    if not entry.rates:
        return FREE
    return Price.of(entry.glob, source="configuration", **entry.rates)
