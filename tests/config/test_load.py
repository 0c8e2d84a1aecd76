"""What a configuration means: every section, in YAML, TOML and JSON alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from apikeyrouter import Budget, Limit, Policy, RetrySettings, Settings
from apikeyrouter.config import AuditEntry, Config, load
from apikeyrouter.core.health import Probe

Loader = Callable[..., Config]

PROVIDERS = "providers: {openai: {adapter: openai}, claude: {adapter: anthropic}}\n"


def test_nothing_is_a_configuration(loaded: Loader) -> None:
    assert loaded("") == Config(path=loaded("").path)
    assert load({}) == Config()


def test_the_three_formats_say_the_same(written: Callable[..., Path]) -> None:
    source = {
        "providers": {"openai": {"adapter": "openai", "base_url": "https://x.example.com"}},
        "pools": {"a": {"limits": {"rpm": 5}, "shared_by": ["k"]}},
        "keys": {"k": {"provider": "openai", "secret": "env:K", "weight": 2.5}},
        "objective": {"cost": 0.5, "constraints": {"min_reliability": 0.9}},
        "settings": {"timeout": "1m30s"},
    }
    toml = """
        [providers.openai]
        adapter = "openai"
        base_url = "https://x.example.com"
        [pools.a]
        limits = {rpm = 5}
        shared_by = ["k"]
        [keys.k]
        provider = "openai"
        secret = "env:K"
        weight = 2.5
        [objective]
        cost = 0.5
        constraints.min_reliability = 0.9
        [settings]
        timeout = "1m30s"
    """
    environ = {"K": "0123456789"}
    text = json.dumps(source)
    paths = [written(text, "a.json"), written(text, "a.yaml"), written(toml, "a.toml")]
    found = [load(path, environ=environ) for path in paths]
    assert [config.path for config in found] == paths
    assert {repr(config).partition("providers=")[2] for config in found} == {
        repr(load(source, environ=environ)).partition("providers=")[2]
    }
    assert found[0].settings.timeout_s == 90.0


@pytest.mark.parametrize(
    ("written_as", "meant"),
    [
        ("{rpm: 500}", Limit.rpm(500)),
        ("{rps: 5}", Limit.rps(5)),
        ("{rph: 5}", Limit.rph(5)),
        ("{rpd: 10_000}", Limit.rpd(10_000)),
        ("{tpm: '200,000'}", Limit.tpm(200_000)),
        ("{tpd: 2.0e+6}", Limit.tpd(2_000_000)),
        ("{itpm: 7}", Limit.itpm(7)),
        ("{otpm: 7}", Limit.otpm(7)),
        ("{concurrency: 4}", Limit.concurrency(4)),
        ("{spend: 20 USD}", Limit.spend(20)),
        ("{spend: 0.5}", Limit.spend(Decimal("0.5"))),
        ("[{of: tokens, amount: 200000}]", Limit.tpm(200_000)),
        ("[{of: output, amount: 7, per: minute}]", Limit.otpm(7)),
        ("[{of: concurrency, amount: 4}]", Limit.concurrency(4)),
        ("[{of: spend, amount: 20 USD, per: week}]", Limit.spend(20, "week")),
        (
            "[{of: requests, amount: 1500, per: day, window: fixed, zone: America/Los_Angeles, models: ['gemini-*']}]",
            Limit(
                of="requests", amount=1500, per="day", window="fixed", zone="America/Los_Angeles", models=("gemini-*",)
            ),
        ),
        (
            "[{of: tokens, amount: 9, charge: real, burst_s: 15, refund: true}]",
            Limit(of="tokens", amount=9, charge="real", burst_s=15.0, refund=True),
        ),
    ],
)
def test_limits_in_both_forms(written_as: str, meant: Limit, loaded: Loader) -> None:
    assert loaded(f"pools: {{a: {{limits: {written_as}}}}}").pools["a"] == (meant,)


def test_a_key_and_who_shares_with_it(loaded: Loader) -> None:
    config = loaded(
        PROVIDERS
        + """
pools: {a: {limits: {rpm: 5}, shared_by: [k1, k2]}, b: {}}
keys:
  k1: {provider: openai, secret: env:KEY_1, pool: b, limits: {rpm: 2}, models: "gpt-4o*", tags: {region: eu, n: 5},
       metadata: {since: 2026-01-02, list: [1, {a: b}]}, weight: 2, tier: 1, quality: 0.9, label: The first}
  k2: {provider: openai, secret: "${KEY_2}"}
  k3: {provider: claude, secret: env:KEY_3, limits: {rpm: 50}}
"""
    )
    first, second, third = config.keys.values()
    assert (first.pools, second.pools, third.pools) == (("b", "a"), ("a",), ())
    assert (first.limits, third.limits) == ((Limit.rpm(2),), (Limit.rpm(50),))
    assert first.models == ("gpt-4o*",)
    assert first.tags == {"region": "eu", "n": "5"}
    assert first.metadata == {"since": "2026-01-02", "list": [1, {"a": "b"}]}
    assert (first.weight, first.tier, first.quality, first.label) == (2.0, 1, 0.9, "The first")
    assert (first.source, second.source) == ("env:KEY_1", "env:KEY_2")
    assert first.secret is not None
    assert first.secret.reveal() == "material-of-key-1-0000"


def test_money_and_choices(loaded: Loader) -> None:
    config = loaded(
        PROVIDERS
        + """
budgets:
  daily: {scope: global, limit: 100 USD, period: day, timezone: Europe/Berlin, mode: soft, spent: 1.5,
          thresholds: [0.9], downgrade: {gpt-4o: gpt-4o-mini}}
prices:
  claude/claude-x*: {input: "3", output: 15, request: "0.01"}
  llama*: free
models: {fast: [openai/gpt-4o-mini, claude/claude-haiku-4-5], one: openai/gpt-4o}
objective: {cost: 0.6, constraints: {max_cost: 0.05 USD}}
policies: {p: {when: "true", deny: {id: k1}, scope: "tenant:acme"}}
audit: sqlite:///audit.db
retention: {decisions: 30d, requests: 1w}
settings: {timeout: 30, attempts: 5, default_max_output: 500, failover: same_provider, backoff: 200ms}
"""
    )
    assert config.budgets == (
        Budget(
            scope="global",
            limit="100",
            timezone="Europe/Berlin",
            mode="soft",
            spent="1.5",
            thresholds=(0.9,),
            downgrade={"gpt-4o": "gpt-4o-mini"},
            id="daily",
        ),
    )
    assert [(p.provider, p.glob, p.rates) for p in config.prices] == [
        ("claude", "claude-x*", {"input": "3", "output": "15", "request": "0.01"}),
        (None, "llama*", {}),
    ]
    assert config.aliases == {"fast": ("openai/gpt-4o-mini", "claude/claude-haiku-4-5"), "one": ("openai/gpt-4o",)}
    assert config.objective.constraints.max_cost == 50_000_000
    assert config.policies == (Policy(id="p", when="true", deny={"id": "k1"}, scope="tenant:acme"),)
    assert config.audit == AuditEntry(
        url="sqlite:///audit.db", retention={"decisions": 2_592_000.0, "requests": 604_800.0}
    )
    assert config.settings == Settings(
        timeout_s=30.0,
        default_max_output=500,
        retry=RetrySettings(attempts=5, failover="same_provider", backoff_s=0.2),
    )


def test_audit_in_its_long_form(loaded: Loader) -> None:
    config = loaded("audit: {url: 'jsonl:facts.jsonl', block: true, retention: {decisions: 1d}}")
    assert config.audit == AuditEntry(url="jsonl:facts.jsonl", block=True, retention={"decisions": 86_400.0})


def test_anchors_merge_keys_and_a_place_to_keep_them(loaded: Loader) -> None:
    config = loaded(
        PROVIDERS
        + """
x-common: &common {provider: openai, tier: 3}
keys:
  k1: {<<: *common, secret: env:KEY_1}
  k2: {<<: *common, secret: env:KEY_2, tier: 4}
"""
    )
    assert [(key.provider, key.tier) for key in config.keys.values()] == [("openai", 3), ("openai", 4)]


def test_names_that_yaml_takes_for_something_else(loaded: Loader) -> None:
    config = loaded("pools: {on: {}, 1234: {}, null: {}}")
    assert list(config.pools) == ["on", "1234", "null"]


def test_without_secrets_nothing_is_read(loaded: Loader, written: Callable[..., Path]) -> None:
    path = written(PROVIDERS + "keys: {k: {provider: openai, secret: env:GONE}}")
    assert load(path, environ={}, secrets=False).keys["k"].secret is None


def test_a_secret_may_be_handed_over_as_it_is() -> None:
    from apikeyrouter import Secret

    secret = Secret("0123456789")
    source = {"providers": {"o": {"adapter": "openai"}}, "keys": {"k": {"provider": "o", "secret": secret}}}
    assert load(source, environ={}).keys["k"].secret is secret


def test_material_from_a_file(written: Callable[..., Path], loaded: Loader) -> None:
    path = written("material-in-a-file\n", "key.txt")
    config = loaded(PROVIDERS + f"keys: {{k: {{provider: openai, secret: 'file:{path}'}}}}")
    assert config.keys["k"].secret is not None
    assert config.keys["k"].secret.reveal() == "material-in-a-file"


@pytest.mark.parametrize(
    ("written_as", "read"),
    [
        ("30s", Probe(every_s=30.0)),
        ("{every: 1m, jitter: 0, timeout: 2}", Probe(every_s=60.0, jitter=0.0, timeout_s=2.0)),
        ("null", None),
    ],
)
def test_probes(loaded: Loader, written_as: str, read: Probe | None) -> None:
    assert loaded(f"providers: {{o: {{adapter: openai, probe: {written_as}}}}}").providers["o"].probe == read
