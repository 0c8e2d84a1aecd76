"""What is wrong, where, and how to mend it: the exact sentence for each mistake, and all of them at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from apikeyrouter.config import load
from apikeyrouter.errors import InvalidConfigurationError, MissingConfigurationError

Problems = Callable[..., list[str]]

PROVIDERS = "providers: {openai: {adapter: openai}}\n"
KEYS = "keys:\n  k1: {provider: openai, secret: env:KEY_1}\n"

ONE: list[tuple[str, str]] = [
    # names
    ("provders: {}", "1: provders: is not known here; did you mean 'providers'?"),
    (
        "settings: {tiemout: 3}",
        "1: settings.tiemout: is not known here; did you mean 'timeout'?",
    ),
    (
        "providers: {Open AI: {adapter: openai}}",
        "1: providers.Open AI: a provider's id has only a-z, 0-9, _ and -; rename it",
    ),
    (
        PROVIDERS + "keys: {K1: {provider: openai, secret: env:KEY_1}}",
        "2: keys.K1: a key's id has up to 64 of a-z, 0-9, '.', _ and -, no capitals; rename it",
    ),
    # shapes
    ("providers: openai", "1: providers: is a text; write a mapping such as {openai: {adapter: openai}}"),
    (
        "pools: [a]",
        "1: pools: is a list; write a mapping such as {org-a: {limits: {rpm: 500}, shared_by: [key-1, key-2]}}",
    ),
    ("models: {fast: 3.5}", "1: models.fast: is 3.5; write a list such as [openai/gpt-4o-mini]"),
    ("models: {fast: []}", "1: models.fast: stands for nothing; write a list such as [openai/gpt-4o-mini]"),
    # probes
    (
        "providers: {o: {adapter: openai, probe: often}}",
        "1: providers.o.probe: is 'often'; write seconds, or a time such as 90s, 1m30s or 30d",
    ),
    (
        "providers: {o: {adapter: openai, probe: {jitter: 0.1}}}",
        "1: providers.o.probe: has no `every`; write it as {every: 30s, jitter: 0.1, timeout: 5s}",
    ),
    (
        "providers: {o: {adapter: openai, probe: {every: 9, jitter: 2}}}",
        "1: providers.o.probe.jitter: is 2; write a number from 0 to 1",
    ),
    (
        "providers: {o: {adapter: http, base_url: https://x.example.com, operations: {a: {path: /a}}, probe: 9}}",
        "1: providers.o.probe: has nothing to ask; name the cheapest operation as `health:` of this provider",
    ),
    # providers
    (
        "providers:\n  o:\n    base_url: https://x.example.com",
        "2: providers.o: has no `adapter`; write one of openai, anthropic, gemini, http, as {adapter: openai}",
    ),
    (
        "providers:\n  o:\n    adapter: openai\n    base_url: http://x.example.com",
        (
            "4: providers.o.base_url: base_url for x.example.com is plain http, which would send keys in clear; "
            "use https or set allow_http: true"
        ),
    ),
    (
        "providers:\n  o: {adapter: openai, price: cheap}",
        "2: providers.o.price: is 'cheap'; use free",
    ),
    (
        (
            "providers:\n  g:\n    adapter: http\n    base_url: https://x.example.com\n    operations:\n"
            "      find: {method: GIT, path: /find}"
        ),
        "6: providers.g.operations.find.method: method is 'GIT'; use one of GET, POST, PUT, PATCH, DELETE, HEAD",
    ),
    # keys
    (
        PROVIDERS + "keys: {k1: {provider: opnai, secret: env:KEY_1}}",
        "2: keys.k1.provider: 'opnai' is not among the providers; did you mean 'openai'?",
    ),
    (
        PROVIDERS + "keys: {k1: {secret: env:KEY_1}}",
        "2: keys.k1: has no `provider`; write it as {provider: openai, secret: env:OPENAI_KEY}",
    ),
    (
        PROVIDERS + "keys: {k1: {provider: openai}}",
        "2: keys.k1: has no `secret`; write env:NAME, file:/path or keyring:name",
    ),
    (
        PROVIDERS + "keys: {k1: {provider: openai, secret: env:GONE}}",
        "2: keys.k1.secret: Key 'k1' is read from the environment variable GONE, which is not set; export it first.",
    ),
    (
        PROVIDERS + "keys: {k1: {provider: openai, secret: 'file:/nowhere/key'}}",
        "2: keys.k1.secret: Key 'k1' is read from the file /nowhere/key: No such file or directory.",
    ),
    (
        PROVIDERS + "keys: {k1: {provider: openai, secret: 'env:sk-1234'}}",
        "2: keys.k1.secret: is no name of a variable after `env:`; write it as env:OPENAI_KEY",
    ),
    (
        PROVIDERS + KEYS + "  k2: {provider: openai, secret: env:KEY_1}",
        "4: keys.k2.secret: is the same material as key 'k1'; keep one of them",
    ),
    (
        PROVIDERS + "keys: {k1: {provider: openai, secret: env:KEY_1, weight: heavy}}",
        "2: keys.k1.weight: is a text; write a number greater than 0",
    ),
    (
        PROVIDERS + "keys: {k1: {provider: openai, secret: env:KEY_1, quality: 2}}",
        "2: keys.k1.quality: is 2; write a number from 0 to 1",
    ),
    (
        PROVIDERS + "keys: {k1: {provider: openai, secret: env:KEY_1, tier: 1.5}}",
        "2: keys.k1.tier: is 1.5; write a whole number of at least 0",
    ),
    (
        PROVIDERS + "keys: {k1: {provider: openai, secret: env:KEY_1, pool: org}}",
        "2: keys.k1.pool: 'org' is not among the pools; add it there",
    ),
    (
        PROVIDERS + "pools: {k1: {}}\n" + KEYS,
        "4: keys.k1: a pool has the same name, which would be this key's own pool; rename one of them",
    ),
    (
        PROVIDERS + KEYS + "  k2: {provider: openai, secret: env:KEY_2, price: free}",
        (
            "4: keys.k2.price: is free, but key 'k1' serves the same models of 'openai' for money; "
            "give the free ones a provider of their own"
        ),
    ),
    # pools and limits
    ("pools: {a: {limits: {tmp: 5}}}", "1: pools.a.limits.tmp: is not known here; did you mean 'tpm'?"),
    ("pools: {a: {limits: {rpm: many}}}", "1: pools.a.limits.rpm: is 'many'; write a whole number of at least 0"),
    ("pools: {a: {limits: {rpm: -1}}}", "1: pools.a.limits.rpm: is -1; write a whole number of at least 0"),
    ("pools: {a: {limits: {rpm: true}}}", "1: pools.a.limits.rpm: is true; write a whole number of at least 0"),
    ("pools: {a: {limits: {rpm: }}}", "1: pools.a.limits.rpm: is empty; write a number, or leave the line out"),
    (
        "pools: {a: {limits: [{of: tokens}]}}",
        "1: pools.a.limits[0]: has no `amount`; write it as {of: tokens, amount: 200000, per: minute}",
    ),
    (
        "pools: {a: {limits: [{of: tokens, amount: 5, per: minit}]}}",
        (
            "1: pools.a.limits[0].per: is 'minit'; use one of day, hour, minute, month, second, week; "
            "did you mean 'minute'?"
        ),
    ),
    (
        "pools: {a: {limits: [{of: requests, amount: 5, zone: Mars/Olympus}]}}",
        "1: pools.a.limits[0].zone: is no time zone known here; write a name such as America/Los_Angeles or UTC",
    ),
    (
        PROVIDERS + "pools: {a: {shared_by: [k1x]}}\n" + KEYS,
        "2: pools.a.shared_by[0]: 'k1x' is not among the keys; did you mean 'k1'?",
    ),
    # money
    (
        "budgets: {d: {limit: 5 USD}}",
        "1: budgets.d: has no `scope`; write it as {scope: global, limit: 100 USD, period: day}",
    ),
    (
        "budgets:\n  d:\n    scope: global\n    limit: 5 EUR",
        "4: budgets.d.limit: Budget 'd' has a limit that is in EUR; amounts are in USD only, so convert it.",
    ),
    (
        "budgets:\n  d:\n    scope: global\n    limit: 5\n    period: fortnight",
        (
            "5: budgets.d.period: Budget 'd' has the unknown period 'fortnight'; "
            "use minute, hour, day, week, month, total or 'rolling 24h'."
        ),
    ),
    ("prices: {m: 5}", '1: prices.m: write dollars for a million tokens, as {input: "0.15", output: "0.60"}, or free'),
    ("prices: {m: {}}", '1: prices.m: states no price; write it as {input: "0.15", output: "0.60"}, or free'),
    ("prices: {m: {input: -1}}", '1: prices.m.input: is no amount of dollars; write it as "0.15"'),
    # choices
    (
        PROVIDERS + "models: {fast: [gpt-4o]}",
        "2: models.fast: names a model without its provider; write provider/model, as openai/gpt-4o-mini",
    ),
    (
        PROVIDERS + "models: {fast: openia/gpt-4o}",
        "2: models.fast: 'openia' is not among the providers; did you mean 'openai'?",
    ),
    ("objective: {cost: much}", "1: objective.cost: The weight of 'cost' is 'much'; it must be a number."),
    (
        "objective: {constraints: {max_cost: 5 EUR}}",
        "1: objective.constraints.max_cost: max_cost is in EUR; amounts are in USD only, so convert it.",
    ),
    ("settings: {timeout: soon}", "1: settings.timeout: is 'soon'; write seconds, or a time such as 90s, 1m30s or 30d"),
    ("settings: {attempts: 0}", "1: settings.attempts: is 0; write a whole number of at least 1"),
    ("settings: {failover: maybe}", "1: settings.failover: is 'maybe'; use one of any, never, same_provider"),
    ("settings: {metrics: perhaps}", "1: settings.metrics: is 'perhaps'; write true or false"),
    (
        "state: kafka://h",
        "1: state: is no address of a store; write one like memory, sqlite:///file.db, redis://host/0, mongodb://host/db",
    ),
    ("audit: {block: true}", "1: audit: has no `url`; write it as {url: 'sqlite:///audit.db'}"),
    (
        "retention: {decisions: 30d}",
        "1: retention: says how long facts are kept, but there is no `audit` that keeps any; add one",
    ),
    ("proxy: {port: 70000}", "1: proxy.port: is 70000; a port is at most 65535"),
    # policies
    (
        "policies:\n  a:\n    when: request.tags.region ==\n    deny: {id: k}",
        "3: policies.a.when: Policy 'a', when, line 1, column 23: mismatched input end.",
    ),
    (
        "policies:\n  a:\n    scope: tenant\n    deny: {id: k}",
        (
            "3: policies.a.scope: Policy 'a' has the unknown scope 'tenant'; use default, global, provider, model, "
            "route, tenant, user, request, such as tenant:NAME."
        ),
    ),
    (
        "policies:\n  a:\n    deny: {id: k}\n    timezone: Mars",
        "4: policies.a.timezone: Policy 'a' has the unknown time zone 'Mars'; use a name such as Europe/Berlin.",
    ),
    (
        "policies:\n  a:\n    actions: {max_attempts: 0}",
        "3: policies.a.actions: Policy 'a' has max_attempts 0; it is a whole number from 1 to 20.",
    ),
    ("policies: {a: {deny: {id: k}, scope: [x]}}", "1: policies.a.scope: is a list; write a text such as scope"),
    # YAML itself
    ("pools: {a: }\npools: {b: }", "2: pools: is given twice, first on line 1; keep one"),
    ("a: &a {b: *a}", "1: a.b: an anchor contains itself, or multiplies without end; write it out"),
    (
        "models: {}\nstate: ${NAME}",
        "2: state: the environment variable NAME is not set; export it, or write ${NAME:-DEFAULT}",
    ),
]


@pytest.mark.parametrize(("text", "problem"), ONE, ids=[problem[:40] for _, problem in ONE])
def test_a_mistake_has_its_line_its_path_and_what_mends_it(text: str, problem: str, problems: Problems) -> None:
    assert f"router.yaml:{problem}" in problems(text)


def test_every_mistake_is_told_at_once_in_the_order_of_the_file(problems: Problems) -> None:
    text = """\
providers:
  openai: {adapter: opnai}
pools:
  a: {limits: {rpm: x}}
keys:
  k1: {provider: openai, secret: env:KEY_1, pool: b}
  k1: {provider: openai, secret: env:KEY_1}
budgets:
  d: {scope: globe, limit: 1, period: dy}
settings: {attempts: 0}
"""
    found = problems(text)
    lines = [int(problem.split(":")[1]) for problem in found]
    assert lines == [2, 4, 7, 9, 9, 10]


def test_the_message_lists_the_problems(loaded: Callable[..., object]) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        loaded("a: 1\nb: 2")
    first, *rest = str(caught.value).splitlines()
    assert first.endswith("router.yaml has 2 problems:")
    assert [line.strip() for line in rest] == list(caught.value.problems)


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.yaml", "pools: {a: [}", 1),
        ("a.yaml", "pools:\n\t- x", 2),
        ("a.yaml", "--- {}\n--- {}", 2),
        ("a.json", '{"pools": {},\n"keys": }', 2),
    ],
)
def test_a_broken_file_tells_its_line(name: str, text: str, line: int, written: Callable[..., Path]) -> None:
    path = written(text, name)
    with pytest.raises(InvalidConfigurationError, match=rf"{name}:{line}: this is not (YAML|JSON)"):
        load(path)


def test_a_broken_toml_file_says_what_toml_says(written: Callable[..., Path]) -> None:
    with pytest.raises(InvalidConfigurationError, match=r"a\.toml: this is not TOML: .*line 1"):
        load(written("pools = \na = 1", "a.toml"))


def test_other_formats_tell_the_path(written: Callable[..., Path]) -> None:
    path = written(json.dumps({"pools": {"a": {"limits": {"rpm": "x"}}}}), "a.json")
    with pytest.raises(InvalidConfigurationError, match=r"a\.json: pools\.a\.limits\.rpm: is 'x'; write a whole"):
        load(path)


def test_a_mapping_has_no_file_to_name() -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        load({"pools": {"a": {"limits": {"rpm": "x"}}}})
    assert caught.value.problems == ("pools.a.limits.rpm: is 'x'; write a whole number of at least 0",)


def test_names_of_a_mapping_are_texts() -> None:
    with pytest.raises(InvalidConfigurationError, match=r"pools: the name 5 is a int; write a text"):
        load({"pools": {5: {}}})


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingConfigurationError, match=r"no\.yaml cannot be read \(No such file.*apikeyrouter init"):
        load(tmp_path / "no.yaml")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidConfigurationError, match="is not UTF-8 text"):
        load(path)


def test_deep_nesting_is_an_answer_not_a_crash(written: Callable[..., Path]) -> None:
    for name in ("a.yaml", "a.json"):
        with pytest.raises(InvalidConfigurationError):
            load(written("[" * 20_000, name))


def test_anchors_that_multiply_are_stopped(written: Callable[..., Path]) -> None:
    laughs = "x-0: &x0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
        f"x-{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 9)
    )
    with pytest.raises(InvalidConfigurationError, match="multiplies without end"):
        load(written(laughs))


def test_a_budget_for_nothing_is_a_warning(loaded: Callable[..., object]) -> None:
    config = loaded(PROVIDERS + KEYS + "budgets: {d: {scope: 'key:k9', limit: 5}}")
    assert [str(w).rpartition("budgets")[2] for w in config.warnings] == [  # type: ignore[attr-defined]
        ".d.scope: no key is called 'k9', so this budget covers nothing yet"
    ]
