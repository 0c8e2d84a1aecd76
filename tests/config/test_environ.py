"""Precedence: arguments > environment > .env > file > defaults; and what stands for a variable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from apikeyrouter import ApiKeyRouter, InvalidConfigurationError, Settings
from apikeyrouter.config import Config, load
from apikeyrouter.config.environ import dotenv

Loader = Callable[..., Config]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("  export A = b  ", "b"),
        ("A=", ""),
        ("A=b # comment", "b"),
        ("A=b#c", "b#c"),
        ("A=#c", ""),
        ("A='b # c'", "b # c"),
        ("A='b' # c", "b"),
        ('A="b \\"c\\" # d" # e', 'b "c" # d'),
        ('A="b\\nc"', "b\nc"),
        ("A=b=c", "b=c"),
        ("A='unclosed", "'unclosed"),
    ],
)
def test_lines_of_a_dotenv_file(line: str, value: str, tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(f"# first\n\nnonsense\n{line}\n", encoding="utf-8")
    assert dotenv(path) == {"A": value}


def test_the_environment_wins_over_dotenv_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("state: sqlite:///file.db\nproxy: {port: 1000, host: '::1'}\nsettings: {log_level: debug}")
    assert load(path, environ={}).state == "sqlite:///file.db"
    (tmp_path / ".env").write_text("APIKEYROUTER_STATE=redis://dotenv/0\nPROXY_PORT=2000\n")
    found = load(path, environ={"PROXY_PORT": "3000"})
    assert (found.state, found.server.port, found.server.host) == ("redis://dotenv/0", 3000, "::1")
    assert found.server.log_level == "DEBUG"
    assert load(path, environ={"APIKEYROUTER_STATE": "memory"}).state == "memory"


def test_reading_leaves_the_environment_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONLY_IN_DOTENV", raising=False)
    (tmp_path / ".env").write_text("ONLY_IN_DOTENV=material-0123456789\n")
    path = tmp_path / "c.yaml"
    path.write_text("providers: {o: {adapter: openai}}\nkeys: {k: {provider: o, secret: env:ONLY_IN_DOTENV}}")
    config = load(path)
    import os

    assert "ONLY_IN_DOTENV" not in os.environ
    assert config.keys["k"].secret is not None
    assert config.keys["k"].secret.reveal() == "material-0123456789"


def test_arguments_win_over_everything(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("state: sqlite:///file.db\nobjective: cost\nsettings: {timeout: 5}")
    router = ApiKeyRouter.from_config(
        path,
        environ={"APIKEYROUTER_STATE": "redis://h"},
        state="memory",
        objective="latency",
        settings=Settings(timeout_s=7),
    )
    engine = router.enrolment.router
    assert (engine.asking.objective.name, engine.settings.timeout_s) == ("latency", 7)


@pytest.mark.parametrize(
    ("environ", "state"),
    [
        ({"REDIS_ENABLED": "true", "REDIS_URL": "redis://h/0"}, "redis://h/0"),
        ({"REDIS_ENABLED": "false", "REDIS_URL": "redis://h/0"}, "memory"),
        ({"MONGODB_ENABLED": "yes", "MONGODB_URL": "mongodb://h/", "MONGODB_DATABASE": "keys"}, "mongodb://h/keys"),
        ({"REDIS_ENABLED": "1", "REDIS_URL": "redis://h/0", "APIKEYROUTER_STATE": "memory"}, "memory"),
    ],
)
def test_stores_switched_on_by_variables(environ: dict[str, str], state: str) -> None:
    assert load({}, environ=environ).state == state


def test_a_store_switched_on_without_its_address() -> None:
    with pytest.raises(InvalidConfigurationError, match="REDIS_ENABLED: is true, but REDIS_URL is not set; set it"):
        load({}, environ={"REDIS_ENABLED": "true"})


def test_what_the_proxy_is_told() -> None:
    environ = {
        "PROXY_HOST": "0.0.0.0",
        "CORS_ORIGINS": "https://a.example, https://b.example",
        "MANAGEMENT_API_KEY": "0123456789abc",
        "METRICS_ENABLED": "false",
    }
    server = load({"proxy": {"open": True}}, environ=environ).server
    assert (server.host, server.port, server.open, server.metrics) == ("0.0.0.0", 8000, True, False)
    assert server.cors_origins == ("https://a.example", "https://b.example")
    assert server.management_key is not None
    assert "0123456789abc" not in repr(server)
    with pytest.raises(InvalidConfigurationError, match="MANAGEMENT_API_KEY has 3 characters"):
        load({}, environ={"MANAGEMENT_API_KEY": "abc"})


def test_variables_anywhere_with_defaults_and_escapes(loaded: Loader) -> None:
    config = loaded(
        """
providers: {"${NAME}": {adapter: openai}, o: {adapter: openai, headers: {a: "x-${HOST:-local}-$${y}"}}}
pools: {a: {limits: {rpm: "${RPM}", tpm: "${TPM:-7}"}}}
keys: {k: {provider: "${NAME}", secret: "prefix-${KEY_1}"}}
""".replace('"${NAME}": {adapter: openai}, ', ""),
        NAME="o",
        RPM="500",
    )
    assert config.providers["o"].options["headers"] == {"a": "x-local-${y}"}
    assert [limit.amount for limit in config.pools["a"]] == [500, 7]
    assert config.keys["k"].provider == "o"
    assert config.keys["k"].secret is not None
    assert config.keys["k"].secret.reveal() == "prefix-material-of-key-1-0000"
