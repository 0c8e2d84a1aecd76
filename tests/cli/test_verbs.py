"""Every verb: what it shows a person, what it gives a program, and its exit code."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from commands import Command

from apikeyrouter.config import load

# -- status ------------------------------------------------------------------------------------------------------------


def test_status_shows_who_shares_what(command: Command, config: Path) -> None:
    done = command("status")
    assert done.code == 0
    lines = [line.split() for line in done.out.splitlines()]
    assert [
        "org-a",
        "k1",
        "k2",
        "(2",
        "keys,",
        "1",
        "quota)",
        "500",
        "requests/minute,",
        "200,000",
        "tokens/minute",
    ] in lines
    assert ["daily", "global", "$100.00", "day", "hard", "UTC"] in lines
    assert "canary" not in done.out


def test_status_as_json(command: Command, config: Path) -> None:
    found = command("status", "--json").data()
    assert [key["secret"] for key in found["keys"]] == ["env:KEY_1", "env:KEY_2", "env:KEY_3"]
    assert found["pools"][0] == {
        "id": "org-a",
        "state": "available",
        "keys": ["k1", "k2"],
        "windows": [
            {"name": "requests/minute", "limit": 500.0, "remaining": 500.0, "held": 0},
            {"name": "tokens/minute", "limit": 200_000.0, "remaining": 200_000.0, "held": 0},
        ],
    }
    assert found["budgets"][0]["limit"] == "100"
    assert found["aliases"] == {"fast": ["openai/gpt-4o-mini", "claude/claude-haiku-4-5"]}


def test_status_needs_no_secret(command: Command, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KEY_1")
    assert command("status").code == 0


def test_status_of_state_that_lives_elsewhere(command: Command, config: Path) -> None:
    config.write_text(config.read_text() + "state: redis://nowhere.example.com/0\n")
    assert command("status").code == 0


# -- explain -----------------------------------------------------------------------------------------------------------


def test_explain_says_who_and_why(command: Command, config: Path) -> None:
    done = command("explain", "--model", "fast", "--input-tokens", "1000", "--max-tokens", "200")
    assert done.code == 0
    first = done.out.splitlines()[0]
    assert first.startswith(("preview: k1 chosen for openai/gpt-4o-mini", "preview: k2 chosen for openai/gpt-4o-mini"))
    assert "k3: score" in done.out


def test_explain_as_json(command: Command, config: Path) -> None:
    found = command("explain", "-m", "gpt-4o", "--json", "--objective", "reliability").data()
    assert found["chosen"] == {"key": "k1", "provider": "openai", "model": "gpt-4o"}
    assert {row["key"] for row in found["candidates"]} == {"k1"}
    assert (found["rejected"][0]["key"], found["rejected"][0]["code"]) == ("k2", "model")
    assert (found["input_tokens"], found["max_output_tokens"]) == (1000, 500)


def test_explain_a_refusal(command: Command, config: Path) -> None:
    done = command("explain", "--model", "openai/gpt-4o", "--input-tokens", "500000")
    assert done.code == 1
    assert "k1: org-a tokens/minute can never hold 500,500 at once." in done.out
    found = command("explain", "--model", "openai/gpt-4o", "--input-tokens", "500000", "--json").data()
    assert found["chosen"] is None


def test_explain_for_a_tenant_and_tags(command: Command, config: Path) -> None:
    config.write_text(config.read_text().replace("tags: {region: eu}", "tags: {tenant: acme}"))
    other = command("explain", "-m", "gpt-4o-mini", "--json").data()
    acme = command("explain", "-m", "gpt-4o-mini", "--tenant", "acme", "--tag", "a=b", "--json").data()
    assert [len(found["candidates"]) for found in (other, acme)] == [1, 2]
    wrong = command("explain", "-m", "gpt-4o-mini", "--tag", "nonsense")
    assert (wrong.code, wrong.err) == (1, "The tag 'nonsense' is not written as name=value.\n")


# -- doctor ------------------------------------------------------------------------------------------------------------


def test_doctor_is_content(command: Command, config: Path) -> None:
    done = command("doctor")
    assert done.code == 0, done.out
    assert done.out.endswith("All is well.\n")
    assert "3 of 3 are there" in done.out
    assert "canary" not in done.out


UNKNOWN = ("gpt-4o-mini, claude", "my-model, claude")
SHARED = "shared_by: [k1, k2]"
FINDINGS: list[tuple[list[tuple[str, str]], int, str, str]] = [
    ([("env:KEY_1", "env:GONE")], 1, "problem", "the environment variable GONE, which is not set"),
    ([(SHARED, "")], 0, "warning", "k1, k2 of 'openai' have a quota each"),
    ([(SHARED, "shared_by: [k1, k3]")], 0, "warning", "shared across the providers claude, openai"),
    ([("org-a: {", "org-b: {}\n  org-a: {")], 0, "warning", "nobody uses pool 'org-b'"),
    ([UNKNOWN], 1, "problem", "the price of openai/my-model: a hard budget refuses what it cannot price"),
    ([UNKNOWN, ("mode: hard", "mode: soft")], 0, "warning", "the price of openai/my-model: its cost will not"),
    ([("env:KEY_1", "canary-in-the-file-0123")], 0, "warning", "is in the file itself"),
    ([("scope: global", "scope: 'key:k9'")], 0, "warning", "no key is called 'k9'"),
    ([("openai}", "opnai}")], 1, "problem", "did you mean 'openai'?"),
]


@pytest.mark.parametrize(("changes", "code", "grade", "text"), FINDINGS)
def test_doctor_finds(
    changes: list[tuple[str, str]], code: int, grade: str, text: str, command: Command, config: Path
) -> None:
    for old, new in changes:
        config.write_text(config.read_text().replace(old, new))
    done = command("doctor", "--json")
    found = [f for f in done.data()["findings"] if text in f["text"]]
    assert [f["grade"] for f in found] == [grade], done.out
    assert done.code == code
    assert "canary" not in done.out + command("doctor").out


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_doctor_sees_a_dotenv_that_others_may_read(command: Command, config: Path) -> None:
    dotenv = config.parent / ".env"
    dotenv.write_text("A=b\n")
    dotenv.chmod(0o644)
    assert "chmod 600" in command("doctor").out
    dotenv.chmod(0o600)
    assert "chmod 600" not in command("doctor").out


def test_doctor_without_a_file(command: Command, folder: Path) -> None:
    done = command("doctor")
    assert done.code == 3
    assert done.err.startswith("There is no apikeyrouter.yaml in this folder; name a configuration with --config")
    missing = command("doctor", "--config", "x.yaml")
    assert (missing.code, missing.out.split()[0]) == (1, "ok")


# -- init --------------------------------------------------------------------------------------------------------------


def test_init_writes_what_loads(command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command("init").code == 0
    names = ["OPENAI_KEY_1", "OPENAI_KEY_2", "ANTHROPIC_KEY_1"]
    shown = (folder / ".env.example").read_text()
    assert all(f"\n{name}=" in shown for name in names)
    environ = {name: f"material-of-{name}" for name in names}
    config = load(folder / "apikeyrouter.yaml", environ=environ)
    assert (list(config.keys), config.warnings) == (["openai-1", "openai-2", "claude-1"], ())
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in environ.items()))
    (folder / ".env").chmod(0o600)
    assert command("doctor").out.endswith("All is well.\n")


def test_init_replaces_nothing(command: Command, folder: Path) -> None:
    (folder / ".env.example").write_text("mine")
    done = command("init")
    assert (done.code, done.err) == (1, ".env.example exists already; move it away, or choose a folder with --dir.\n")
    assert [path.name for path in folder.iterdir()] == [".env.example"]
    assert (folder / ".env.example").read_text() == "mine"
    assert command("init", "--dir", "new/folder", "--json").data()["written"] == [
        "new/folder/apikeyrouter.yaml",
        "new/folder/.env.example",
    ]


# -- finding the configuration, and the program itself -----------------------------------------------------------------


def test_which_configuration_is_meant(command: Command, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = config.with_name("other.json")
    other.write_text('{"models": {}}')
    assert command("status", "--json").data()["config"] == "apikeyrouter.yaml"
    monkeypatch.setenv("APIKEYROUTER_CONFIG", str(other))
    assert command("status", "--json").data()["config"] == str(other)
    assert command("status", "--json", "--config", str(config)).data()["config"] == str(config)


def test_version_and_help(command: Command, folder: Path) -> None:
    from importlib.metadata import version

    assert command("--version").out == f"apikeyrouter {version('apikeyrouter')}\n"
    shown = command("--help").out
    assert all(verb in shown for verb in ("demo", "simulate", "status", "explain", "doctor", "init"))


# -- simulate ----------------------------------------------------------------------------------------------------------


def test_simulate_serves_for_a_while(command: Command, folder: Path) -> None:
    found = command("simulate", "--port", "0", "--seconds", "0.01", "--json").data()
    assert str(found["url"]).startswith("http://127.0.0.1:")
    assert {"id": "a1", "organisation": "org-a", "status": "alive"}.items() <= found["keys"][0].items()
    assert "Simulated providers on http://127.0.0.1:" in command("simulate", "--port", "0", "--seconds", "0").out


@pytest.mark.parametrize("world", ["demo", "arena", "providers"])
def test_simulate_writes_a_configuration_that_loads(world: str, command: Command, folder: Path) -> None:
    done = command("simulate", world, "--print-config", "--port", "1234")
    path = folder / "apikeyrouter.yaml"
    path.write_text(done.out)
    config = load(path)
    assert set(config.pools) == {pool for key in config.keys.values() for pool in key.pools}
    assert "http://127.0.0.1:1234" in done.out


def test_simulate_a_world_that_is_not_there(command: Command, folder: Path) -> None:
    done = command("simulate", "nowhere.yaml")
    assert done.code == 3
    assert "nowhere.yaml" in done.err
