"""A key pasted anywhere into a configuration never comes out of it again: not in an error, a repr, or a log."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from apikeyrouter import ApiKeyRouter
from apikeyrouter.config import load
from apikeyrouter.errors import ConfigurationError

CANARY = "sk-canary-9f8e7d6c5b4a39281706"
PLAIN = "kanarienvogel42singt"
WHOLE = yaml.safe_load("""
providers:
  openai: {adapter: openai, base_url: "https://api.example.com", headers: {x-a: b}, price_name: openai}
  geo:
    adapter: http
    base_url: https://geo.example.com
    auth: {header: X-Api-Key}
    operations: {find: {method: GET, path: /find, params: [q]}}
    cost: {per_request: "0.001"}
    errors: [{status: 403, means: quota_exhausted}]
    limits_from: [ratelimit]
pools:
  a: {limits: {rpm: 5}, shared_by: [k1]}
  b: {limits: [{of: tokens, amount: 5, per: minute, zone: UTC}]}
keys:
  k1: {provider: openai, secret: env:KEY_1, pool: a, models: [m], tags: {t: u}, weight: 1, tier: 0, label: x}
budgets:
  d: {scope: global, limit: 5 USD, period: day, thresholds: [0.5], downgrade: {a: b}}
models: {fast: [openai/m]}
policies: {p: {when: "true"}}
objective: {cost: 1, constraints: {max_cost: 1 USD}}
prices: {m: {input: "1"}}
settings: {timeout: 5, failover: any}
state: memory
audit: {url: "sqlite:///a.db"}
retention: {decisions: 5d}
proxy: {port: 80}
""")


def places(value: object, at: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """Every place of a value where something could be pasted."""
    yield at
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield from places(child, (*at, name))


def pasted(at: tuple[object, ...], text: str, *, as_name: bool) -> object:
    changed = copy.deepcopy(WHOLE)
    if not at:
        return text
    holder = changed
    for name in at[:-1]:
        holder = holder[name]
    if as_name and isinstance(holder, dict):
        holder[text] = holder.pop(at[-1])
    else:
        holder[at[-1]] = text
    return changed


def all_that_is_said(path: Path) -> str:
    """Everything a person or a log could see of loading the file."""
    try:
        config = load(path, environ={"KEY_1": "0123456789abcdef"})
    except ConfigurationError as error:
        shown = "".join(traceback.format_exception(error, limit=0, chain=True))
        return "\n".join((str(error), repr(error), repr(error.details), shown))
    return "\n".join(map(str, config.warnings)) + repr(config.keys)


@pytest.mark.parametrize("as_name", [False, True], ids=["value", "name"])
def test_a_key_in_the_wrong_place_is_not_repeated(as_name: bool, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    leaks = []
    for at in places(WHOLE):
        path.write_text(yaml.safe_dump(pasted(at, CANARY, as_name=as_name)), encoding="utf-8")
        said = all_that_is_said(path)
        if CANARY in said or CANARY[3:] in said:
            leaks.append(at)
    meant_to_be_read = {("keys", "k1", "label"), ("keys", "k1", "tags", "t"), ("keys", "k1", "models")}
    assert set(leaks) - meant_to_be_read - {("keys", "k1", "models", 0)} == set()


def test_among_keys_no_text_is_quoted_at_all(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    for at in places(WHOLE["keys"]["k1"]):
        if at and at[0] in ("provider", "pool", "models", "label", "tags"):
            continue
        path.write_text(yaml.safe_dump(pasted(("keys", "k1", *at), PLAIN, as_name=False)), encoding="utf-8")
        assert PLAIN not in all_that_is_said(path), at


def test_a_variables_value_is_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("settings: {timeout: '${T}'}\nobjective: '${T}'\nstate: '${T}'", encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load(path, environ={"T": "at teatime"})
    assert "teatime" not in str(caught.value)
    assert "is '${T}'; write seconds" in str(caught.value)


def test_addresses_with_passwords_are_not_quoted(tmp_path: Path) -> None:
    for line in (
        "state: kafka://u:{0}@h",
        "audit: kafka://u:{0}@h",
        "providers: {{o: {{adapter: openai, base_url: 'https://u:{0}@h'}}}}",
    ):
        path = tmp_path / "c.yaml"
        path.write_text(line.format(PLAIN), encoding="utf-8")
        with pytest.raises(ConfigurationError) as caught:
            load(path, environ={})
        assert PLAIN not in str(caught.value)


@pytest.mark.parametrize("text", [f"k: [{CANARY}", f"k: *{PLAIN}", f"k: !{PLAIN} x", f"'{CANARY}", f"a: b: {CANARY}"])
def test_a_parsers_complaint_repeats_nothing(text: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load(path, environ={})
    assert CANARY not in str(caught.value)
    assert PLAIN not in str(caught.value)


def test_a_router_and_its_configuration_show_stars() -> None:
    source = {"providers": {"o": {"adapter": "openai"}}, "keys": {"k": {"provider": "o", "secret": CANARY}}}
    config = load(source)
    router = ApiKeyRouter.from_config(source)
    assert CANARY not in repr(config) + repr(router) + repr(router.list_keys()) + repr(router.filled)
    assert [str(w) for w in config.warnings] == [
        "keys.k.secret: is in the file itself; keep it in the environment or a file of its own (env:, file:)"
    ]


def test_what_a_variable_stands_for_is_not_shown() -> None:
    source = {
        "providers": {"o": {"adapter": "openai", "headers": {"x-team": "${T}"}}},
        "state": "redis://u:${T}@h",
        "audit": "postgresql://u:${T}@h",
    }
    config = load(source, environ={"T": PLAIN})
    assert config.providers["o"].options == {"headers": {"x-team": PLAIN}}
    assert config.state == f"redis://u:{PLAIN}@h"
    assert PLAIN not in repr(config)
