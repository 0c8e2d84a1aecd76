"""Whatever a file holds, loading it gives a configuration, or an error of ours with its problems."""

from __future__ import annotations

import contextlib
from decimal import Decimal

import yaml
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter import ApiKeyRouter
from apikeyrouter.config import Config, load
from apikeyrouter.config.load import SECTIONS
from apikeyrouter.config.tree import of_yaml
from apikeyrouter.errors import ConfigurationError, InvalidConfigurationError

WORDS = [
    "adapter",
    "openai",
    "http",
    "auth",
    "geocode",
    "path",
    "/v1",
    "free",
    "rpm",
    "minute",
    "day",
    "fixed",
    "env:K",
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 10**20)
    | st.floats()
    | st.sampled_from(WORDS)
    | st.sampled_from(
        ["env:K", "100 USD", "1m30s", "${X}", "${Y:-1}", "openai/gpt-4o", "https://a.example", "-1", "1e999"]
    )
    | st.text(max_size=8)
)
NAMES = st.sampled_from(WORDS) | st.text(max_size=4)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
NAME = st.sampled_from(["a", "k1", "openai", "gpt-4o*", "Wrong name"])


def entries(words: str, **right: object) -> st.SearchStrategy[dict[str, object]]:
    """Entries of a section: some fields as they should be, some as anything."""
    fields = {word: st.just(value) | VALUES for word, value in right.items()}
    anything = dict.fromkeys(words.split(), VALUES)
    return st.dictionaries(NAME, st.fixed_dictionaries(fields, optional=anything) | VALUES, max_size=3)


LIMIT = st.fixed_dictionaries(
    {"of": st.sampled_from(["tokens", "spend"]) | VALUES, "amount": st.just(5) | VALUES},
    optional=dict.fromkeys(["per", "window", "zone", "charge", "models", "burst_s", "refund"], VALUES),
)
LIMITS = (
    st.dictionaries(st.sampled_from(["rpm", "tpm", "spend"]), VALUES, max_size=2) | st.lists(LIMIT, max_size=2) | VALUES
)
PROVIDERS = entries(
    "base_url headers auth price price_name metadata dialect read_s betas deployments", adapter="openai"
)
GEO = entries(
    "cost errors usage limits_from headers health", adapter="http", base_url="https://a.example", operations={}
)
SECTION = {
    "providers": PROVIDERS | GEO,
    "pools": st.dictionaries(
        NAME, st.fixed_dictionaries({}, optional={"limits": LIMITS, "shared_by": VALUES}), max_size=2
    ),
    "keys": entries("pool limits models tags metadata weight tier quality label price", provider="a", secret="env:K"),
    "budgets": entries("period timezone mode spent thresholds downgrade", scope="global", limit="5 USD"),
    "policies": entries(
        "name type scope when require allow prefer weight max_cost objective downgrade split actions priority timezone "
        "enabled version created_at",
        deny={"id": "k1"},
    ),
    "objective": st.dictionaries(st.sampled_from(["cost", "latency", "order", "constraints"]), VALUES) | VALUES,
    "models": st.dictionaries(NAME, st.lists(st.sampled_from(["a/x", "openai/y"])) | VALUES, max_size=2),
    "prices": st.dictionaries(
        NAME, st.dictionaries(st.sampled_from(["input", "request"]), VALUES) | VALUES, max_size=2
    ),
    "settings": st.dictionaries(st.sampled_from(["timeout", "attempts", "failover", "log_level"]), VALUES),
    "state": st.just("memory") | VALUES,
    "audit": st.fixed_dictionaries({}, optional={"url": VALUES, "block": VALUES, "retention": VALUES}) | VALUES,
    "retention": VALUES,
    "proxy": st.dictionaries(st.sampled_from(["host", "port", "open", "cors_origins"]), VALUES),
}
CONFIGURATIONS = st.fixed_dictionaries({}, optional=SECTION)
ENVIRON = {"K": "material-0123456789"}


@given(CONFIGURATIONS)
def test_a_mapping_loads_or_has_problems(source: dict[str, object]) -> None:
    found = loaded(source)
    assert isinstance(found, Config) or all(problem and "\n" not in problem for problem in found)


def loaded(source: dict[str, object]) -> Config | tuple[str, ...]:
    """The configuration, or its problems."""
    try:
        return load(source, environ=ENVIRON)
    except InvalidConfigurationError as error:
        return error.problems or ("",)


@given(CONFIGURATIONS)
def test_what_loads_makes_a_router(source: dict[str, object]) -> None:
    source = {**source, "state": "memory", "audit": None, "retention": None}
    try:
        config = load(source, environ=ENVIRON)
    except ConfigurationError:
        return
    router = ApiKeyRouter.from_config(source, environ=ENVIRON, log=False)
    assert [key.id for key in router.list_keys()] == list(config.keys)


@given(VALUES)
def test_yaml_reads_back_what_it_says(value: object) -> None:
    text = yaml.safe_dump({"x": value})
    tree, problems = of_yaml(text, "f")
    assert problems == []
    if not _has_names_that_are_no_text(yaml.safe_load(text)):
        assert repr(tree.plain()) == repr(yaml.safe_load(text))


def _has_names_that_are_no_text(value: object) -> bool:
    """YAML takes `on:` and `1:` for something else; names stay texts here."""
    if isinstance(value, dict):
        return any(not isinstance(n, str) or _has_names_that_are_no_text(v) for n, v in value.items())
    return isinstance(value, list) and any(map(_has_names_that_are_no_text, value))


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidConfigurationError):
        of_yaml(text, "f")


def test_every_section_is_tried() -> None:
    assert SECTION.keys() == set(SECTIONS)


def test_numbers_of_every_kind() -> None:
    source = {"pools": {"a": {"limits": {"rpm": Decimal("5"), "tpm": 5.0, "rpd": "5"}}}}
    assert [limit.amount for limit in load(source, environ={}).pools["a"]] == [5, 5, 5]
