"""Limits as people write them: `{rpm: 500, tpm: 200000}`, or a list where a window, zone or charge must be said.

The long form is the short one with more said: `{of: tokens, amount: 200000, per: minute}` means what `tpm: 200000`
means, so that defaults (output tokens are charged as produced, spend by the calendar) are the same in both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Final, cast, get_args
from zoneinfo import ZoneInfoNotFoundError

from apikeyrouter.config.reader import Reader
from apikeyrouter.config.tree import Node
from apikeyrouter.core.allowance import amount
from apikeyrouter.core.model import DIMENSIONS
from apikeyrouter.core.period import zone_of
from apikeyrouter.core.window import Charge, Limit, Per, Shape
from apikeyrouter.errors import InvalidConfigurationError

SHORT: Final[Mapping[str, Callable[[int], Limit]]] = {
    "rps": Limit.rps,
    "rpm": Limit.rpm,
    "rph": Limit.rph,
    "rpd": Limit.rpd,
    "tpm": Limit.tpm,
    "tpd": Limit.tpd,
    "itpm": Limit.itpm,
    "otpm": Limit.otpm,
    "concurrency": Limit.concurrency,
}
_DEFAULTS: Final[Mapping[str, Limit]] = {
    "output_tokens": Limit.otpm(0),
    "concurrency": Limit.concurrency(0),
    "cost": Limit.spend(0),
}
"""Kinds whose limits are not charged when a request is sent."""
_SYNONYMS: Final = {"spend": "cost", "input": "input_tokens", "output": "output_tokens"}
_EXAMPLE: Final = "{rpm: 500, tpm: 200000}"
_LONG: Final = "{of: tokens, amount: 200000, per: minute}"
_WORDS: Final = tuple(field.name for field in fields(Limit))


def read_limits(reader: Reader, node: Node | None) -> tuple[Limit, ...]:
    """The limits of a pool or key, in either form."""
    if node is None or node.value is None:
        return ()
    if isinstance(node.value, list):
        found = [_long(reader, each) for each in node.value]
    else:
        given = reader.fields(node, (*SHORT, "spend"), _EXAMPLE)
        found = [_short(reader, name, each) for name, each in given.items()]
    return tuple(limit for limit in found if limit is not None)


def _short(reader: Reader, name: str, node: Node) -> Limit | None:
    if name == "spend":
        return _spend(reader, node)
    if node.value is None:
        reader.add(node, "is empty; write a number, or leave the line out")
        return None
    return SHORT[name](reader.whole(node))


def _spend(reader: Reader, node: Node) -> Limit | None:
    """Dollars a month, as the provider's own cap."""
    try:
        return Limit.spend(amount(cast("str", node.value), "this"))
    except InvalidConfigurationError as error:
        reader.add_error(node, error)
        return None


def _long(reader: Reader, node: Node) -> Limit | None:
    given = reader.fields(node, _WORDS, _LONG)
    for name in ("of", "amount"):
        if name not in given and isinstance(node.value, dict):
            reader.add(node, f"has no `{name}`; write it as {_LONG}")
    if "of" not in given or "amount" not in given:
        return None
    of = reader.choice(given["of"], (*DIMENSIONS, *_SYNONYMS), "requests")
    of = _SYNONYMS.get(of, of)
    base = _DEFAULTS.get(of, Limit(of=of, amount=0))
    size = _spend(reader, given["amount"]) if of == "cost" else None
    return replace(
        base,
        amount=(size.amount if size else 0) if of == "cost" else reader.whole(given["amount"]),
        per=cast(Per, reader.choice(given.get("per"), get_args(Per), base.per)),
        window=cast("Shape | None", reader.choice(given.get("window"), get_args(Shape), base.window or "")) or None,
        charge=cast(Charge, reader.choice(given.get("charge"), get_args(Charge), base.charge)),
        zone=_zone(reader, given.get("zone")),
        burst_s=reader.seconds(given["burst_s"], 1.0) if "burst_s" in given else None,
        models=reader.texts(given.get("models"), "gpt-4o*"),
        refund=reader.truth(given.get("refund")),
    )


def _zone(reader: Reader, node: Node | None) -> str:
    name = reader.text(node, "America/Los_Angeles") or "UTC"
    try:
        zone_of(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError):
        if node is not None:
            reader.add(node, "is no time zone known here; write a name such as America/Los_Angeles or UTC")
        return "UTC"
    return name
