"""What decides in a configuration: the objective, aliases, and the settings of routing, audit and servers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Final

from apikeyrouter.config.model import AuditEntry
from apikeyrouter.config.money import read_price
from apikeyrouter.config.reader import Reader
from apikeyrouter.config.tree import Node
from apikeyrouter.core.price import Price
from apikeyrouter.core.retry import RetrySettings
from apikeyrouter.core.score import DEFAULT, Objective
from apikeyrouter.errors import InvalidConfigurationError
from apikeyrouter.settings import Settings

UNKNOWN_PRICES: Final = ("refuse", "allow", "assume")
_OBJECTIVE: Final = "{cost: 0.6, reliability: 0.4}"
_FAILOVER: Final = ("never", "same_provider", "any")
_SETTINGS: Final = (
    "assumed_price", "attempts", "attempts_per_key", "attempts_per_provider", "backoff", "default_max_output",
    "explain_keep", "failover", "log_level", "longest_backoff", "metrics", "price_list", "retry_floor", "retry_share",
    "stream_timeout", "timeout", "unknown_price",
)  # fmt: skip
_AUDIT: Final = tuple(field.name for field in fields(AuditEntry))
RETENTION: Final = ("decisions", "requests", "transitions", "snapshots")


def read_objective(reader: Reader, node: Node | None) -> Objective:
    """The objective; each weight and constraint is tried by itself, so that every mistake has its place."""
    if node is None or node.value is None:
        return DEFAULT
    before = len(reader.problems)
    for child, part in _parts(node):
        try:
            Objective.of(part)
        except InvalidConfigurationError as error:
            reader.add_error(child, error)
    return DEFAULT if len(reader.problems) > before else Objective.of(node.plain())


def _parts(node: Node) -> list[tuple[Node, object]]:
    if not isinstance(node.value, dict):
        return [(node, node.plain())]
    parts: list[tuple[Node, object]] = []
    for name, child in node.value.items():
        if name == "constraints" and isinstance(child.value, dict):
            parts += [(each, {"constraints": {word: each.plain()}}) for word, each in child.value.items()]
        else:
            parts.append((child, {name: child.plain()}))
    return parts


def read_aliases(reader: Reader, node: Node | None, providers: Collection[str]) -> dict[str, tuple[str, ...]]:
    """What each alias stands for; every target names its provider."""
    found: dict[str, tuple[str, ...]] = {}
    for name, each in reader.mapping(node, "{fast: [openai/gpt-4o-mini]}").items():
        found[name] = reader.texts(each, "openai/gpt-4o-mini")
        if not found[name] and isinstance(each.value, list | None):
            reader.add(each, "stands for nothing; write a list such as [openai/gpt-4o-mini]")
        for target in found[name]:
            provider, slash, model = target.partition("/")
            if not slash or not model:
                reader.add(each, "names a model without its provider; write provider/model, as openai/gpt-4o-mini")
            else:
                reader.refer(each, provider, providers, "providers")
    return found


def read_settings(reader: Reader, node: Node | None) -> Settings:
    """How routing goes about its work; seconds may be written as 90s."""
    given = reader.fields(node, _SETTINGS, "{timeout: 60, attempts: 3}") if node is not None else {}
    base, retry = Settings(), RetrySettings()
    failover = reader.choice(given.get("failover"), _FAILOVER, retry.failover)
    return Settings(
        timeout_s=reader.seconds(given.get("timeout"), base.timeout_s),
        stream_s=reader.seconds(given.get("stream_timeout"), base.stream_s),
        default_max_output=reader.whole(given["default_max_output"], least=1)
        if "default_max_output" in given
        else None,
        unknown_price=reader.choice(given.get("unknown_price"), UNKNOWN_PRICES, base.unknown_price),
        assumed_price=_assumed(reader, given),
        explain_keep=reader.whole(given.get("explain_keep"), base.explain_keep, least=1),
        price_list=reader.text(given.get("price_list"), "prices.json"),
        retry=RetrySettings(
            attempts=reader.whole(given.get("attempts"), retry.attempts, least=1),
            per_key=reader.whole(given.get("attempts_per_key"), retry.per_key, least=1),
            per_provider=reader.whole(given.get("attempts_per_provider"), retry.per_provider, least=1),
            failover=failover,  # type: ignore[arg-type]  # one of _FAILOVER
            budget_share=reader.number(given.get("retry_share"), retry.budget_share, most=1.0),
            budget_floor=reader.number(given.get("retry_floor"), retry.budget_floor),
            backoff_s=reader.seconds(given.get("backoff"), retry.backoff_s),
            longest_backoff_s=reader.seconds(given.get("longest_backoff"), retry.longest_backoff_s),
        ),
    )


def _assumed(reader: Reader, given: Mapping[str, Node]) -> Price | None:
    """What a model of unknown price is taken to cost; without it there is nothing to assume."""
    found = read_price(reader, given["assumed_price"]) if "assumed_price" in given else None
    if found is None and "unknown_price" in given and given["unknown_price"].value == "assume":
        reader.add(given["unknown_price"], 'has no `assumed_price`; write it as {input: "5.00", output: "15.00"}')
    return found


def read_audit(reader: Reader, node: Node | None, retention: Node | None) -> AuditEntry | None:
    """Where facts go: an address, or a mapping with it. `retention` may stand beside it at the top."""
    kept = read_retention(reader, retention)
    if node is None or node.value is None:
        if kept and retention is not None:
            reader.add(retention, "says how long facts are kept, but there is no `audit` that keeps any; add one")
        return None
    if isinstance(node.value, str):
        return AuditEntry(url=node.value, retention=kept)
    given = reader.fields(node, _AUDIT, "{url: 'sqlite:///audit.db', block: true}")
    if "url" not in given and isinstance(node.value, dict):
        reader.add(node, "has no `url`; write it as {url: 'sqlite:///audit.db'}")
    own = read_retention(reader, given.get("retention"))
    url = reader.text(given.get("url"), "sqlite:///audit.db")
    return AuditEntry(url=url, block=reader.truth(given.get("block")), retention={**kept, **own})


def read_retention(reader: Reader, node: Node | None) -> Mapping[str, float]:
    if node is None:
        return {}
    given = reader.fields(node, RETENTION, "{decisions: 30d, requests: 7d}")
    return {name: reader.seconds(each, 1.0) for name, each in given.items()}
