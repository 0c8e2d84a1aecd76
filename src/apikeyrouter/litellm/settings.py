"""`model_info.apikeyrouter` of a deployment, read once: limits, pools, budgets, tags, price, further keys.

Limits live there and not in `litellm_params`, where LiteLLM turns rpm and tpm into a cap on concurrency and sends words
it does not know to the provider. The grammar of a limit is that of the configuration file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from apikeyrouter.config.limits import SHORT, read_limits
from apikeyrouter.config.problems import failure
from apikeyrouter.config.reader import Reader
from apikeyrouter.config.tree import Node, of_mapping
from apikeyrouter.core.allowance import Budget
from apikeyrouter.core.model import NO_TAGS
from apikeyrouter.core.price import FREE, Price
from apikeyrouter.core.rates import RATES
from apikeyrouter.core.window import Limit
from apikeyrouter.errors import InvalidConfigurationError
from apikeyrouter.litellm.pricing import dollars

_LIMIT_WORDS: Final = (*SHORT, "spend")
_KEY_WORDS: Final = (
    *_LIMIT_WORDS, "limits", "caps", "pool", "tags", "tier", "weight", "quality", "budget", "budgets",
)  # fmt: skip
_EXTRA_WORDS: Final = (*_KEY_WORDS, "id", "api_key")
_OWN_WORDS: Final = (*_KEY_WORDS, "price", "keys")
_BUDGET_WORDS: Final = ("usd", "limit", "per", "period", "mode", "timezone", "spent")
_EXAMPLE: Final = "{rpm: 500, tpm: 200000, pool: org-a}"
_BUDGET: Final = "{usd: 5, per: day}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySettings:
    """What one key may do. The scope of its `budgets` is still open."""

    limits: tuple[Limit, ...] = ()
    caps: tuple[Limit, ...] = ()
    pools: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=lambda: NO_TAGS)
    tier: int = 0
    weight: float = 1.0
    quality: float = 0.5
    budgets: tuple[Budget, ...] = ()

    def budgets_of(self, key: str) -> tuple[Budget, ...]:
        """The budgets, for a key's id."""
        return tuple(replace(each, scope=f"key:{key}", id=f"key:{key}/{each.period}") for each in self.budgets)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraKey:
    """A further key behind the same deployment. `source` names its material: text, `os.environ/NAME`, `env:NAME`."""

    id: str
    source: str = field(repr=False)
    settings: KeySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSettings:
    """`own` is for the deployment's own api_key; with `extra` keys it is used only if it has one."""

    own: KeySettings = field(default_factory=KeySettings)
    extra: tuple[ExtraKey, ...] = ()
    price: Price | None = None


NOTHING: Final = DeploymentSettings()


def read_settings(raw: Mapping[str, object], where: str) -> DeploymentSettings:
    """Settings from `model_info.apikeyrouter`. Raises InvalidConfigurationError with every problem found."""
    if not raw:
        return NOTHING
    reader = Reader(where)
    node = of_mapping(raw)
    given = reader.fields(node, _OWN_WORDS, _EXAMPLE)
    own = _key(reader, given)
    extra = tuple(_extra(reader, each, at) for at, each in enumerate(reader.items(given.get("keys"), "[{id: b}]")))
    price = _price(reader, given.get("price"))
    if reader.problems:
        raise failure(where, reader.problems)
    return DeploymentSettings(own=own, extra=extra, price=price)


def _key(reader: Reader, given: Mapping[str, Node]) -> KeySettings:
    short = {name: each for name, each in given.items() if name in _LIMIT_WORDS}
    limits = read_limits(reader, Node(short, "")) if short else ()
    return KeySettings(
        limits=limits + read_limits(reader, given.get("limits")),
        caps=read_limits(reader, given.get("caps")),
        pools=_pools(reader, given.get("pool")),
        tags=MappingProxyType(reader.table(given.get("tags"), "{region: eu}")),
        tier=reader.whole(given.get("tier")) if "tier" in given else 0,
        weight=reader.positive(given.get("weight"), 1.0),
        quality=reader.number(given.get("quality"), 0.5, most=1.0),
        budgets=_budgets(reader, given),
    )


def _pools(reader: Reader, node: Node | None) -> tuple[str, ...]:
    if node is None or isinstance(node.value, list):
        return reader.texts(node, "org-a")
    name = reader.text(node, "org-a")
    return (name,) if name else ()


def _budgets(reader: Reader, given: Mapping[str, Node]) -> tuple[Budget, ...]:
    nodes = [given["budget"]] if "budget" in given else []
    nodes += reader.items(given.get("budgets"), f"[{_BUDGET}]")
    return tuple(found for node in nodes if (found := _budget(reader, node)))


def _budget(reader: Reader, node: Node) -> Budget | None:
    words = {name: reader.text(each, _BUDGET) for name, each in reader.fields(node, _BUDGET_WORDS, _BUDGET).items()}
    limit = words.get("usd") or words.get("limit")
    if not limit:
        reader.add(node, f"names no amount; write it as {_BUDGET}")
        return None
    try:
        return Budget(
            scope="key:open",
            limit=limit,
            period=words.get("per") or words.get("period") or "day",
            mode=words.get("mode") or "hard",
            timezone=words.get("timezone") or "UTC",
            spent=words.get("spent") or "0",
        )
    except InvalidConfigurationError as error:
        reader.add_error(node, error)
        return None


def _extra(reader: Reader, node: Node, at: int) -> ExtraKey:
    given = reader.fields(node, _EXTRA_WORDS, "{id: b, api_key: os.environ/KEY_B, rpm: 60}")
    source = reader.text(given.get("api_key"), "os.environ/KEY_B")
    if not source:
        reader.add(node, "has no `api_key`; write `api_key: os.environ/KEY_B`")
    return ExtraKey(id=reader.text(given.get("id"), "b") or str(at + 1), source=source, settings=_key(reader, given))


def _price(reader: Reader, node: Node | None) -> Price | None:
    """`price: free`, or dollars for a million tokens of each kind."""
    if node is None or node.value is None:
        return None
    if node.value == "free":
        return FREE
    given = reader.fields(node, RATES, "{input: 0.15, output: 0.60}")
    try:
        return dollars("model_info", {name: Decimal(reader.text(each, "0.15")) for name, each in given.items()})
    except (ArithmeticError, ValueError):
        reader.add(node, "is no price; write dollars for a million tokens, as {input: 0.15, output: 0.60}, or free")
        return None
