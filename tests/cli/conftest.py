"""The command, run in this process or in one of its own, in an empty folder and an empty environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import START, Command, Done
from typer.testing import CliRunner

from apikeyrouter.cli.app import app

CONFIG = """\
providers:
  openai: {adapter: openai}
  claude: {adapter: anthropic}
pools:
  org-a: {limits: {rpm: 500, tpm: 200000}, shared_by: [k1, k2]}
keys:
  k1: {provider: openai, secret: env:KEY_1}
  k2: {provider: openai, secret: env:KEY_2, tags: {region: eu}, models: [gpt-4o-mini]}
  k3: {provider: claude, secret: env:KEY_3, limits: {rpm: 50}}
budgets:
  daily: {scope: global, limit: 100 USD, period: day, mode: hard}
models:
  fast: [openai/gpt-4o-mini, claude/claude-haiku-4-5]
objective: cost
"""
SECRETS = {f"KEY_{n}": f"canary-material-{n}-0123" for n in (1, 2, 3)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and none of the caller's own variables."""
    for name in list(os.environ):
        if name.startswith(("APIKEYROUTER_", "KEY_", "OPENAI_", "ANTHROPIC_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def config(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration in the current folder, with its secrets in the environment."""
    path = folder / "apikeyrouter.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    return path


@pytest.fixture
def command(folder: Path) -> Command:
    """Run a command in this process."""

    def run(*words: str, code: str = START, **environ: str) -> Done:
        result = CliRunner().invoke(app, words)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def process(folder: Path) -> Command:
    """Run a command in a process of its own."""

    def run(*words: str, code: str = START, **environ: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=folder,
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run
