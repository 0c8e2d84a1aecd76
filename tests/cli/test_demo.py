"""The demonstration, over real HTTP: short here, and what is special about the long one by its parts."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Command

from apikeyrouter.config import load
from apikeyrouter.demo import Plan, Stage


def test_the_short_form_serves_every_request(command: Command) -> None:
    done = command("demo", "--requests", "50", "--seconds", "2")
    assert done.code == 0, done.out
    assert done.out.splitlines()[-1].startswith("50 of 50 requests served in ")
    assert "3 keys of org-a = 1 quota" in done.out
    assert done.out.count("needs ") == 2
    assert "What happened" in done.out
    assert "429s: " in done.out


def test_the_report_as_json(command: Command) -> None:
    done = command("demo", "--requests", "30", "--seconds", "1", "--seed", "3", "--json")
    found = done.data()
    assert (done.code, found["ok"], found["served"], found["errors"]) == (0, True, 30, [])
    assert sum(key["requests"] for key in found["keys"]) == 30
    assert found["throttled"] <= 3
    assert [key["requests"] for key in found["keys"] if key["id"] == "c2"] == [0]
    spent = {budget["id"]: float(budget["spent"]) for budget in found["budgets"]}
    assert spent["everything"] == pytest.approx(float(found["cost"]))


def test_a_run_that_fails_says_so(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plan, "timeout_s", 0.001)
    done = command("demo", "--requests", "5", "--seconds", "1")
    assert done.code == 1
    assert "0 of 5 requests served" in done.out
    assert "not served: " in done.out


@pytest.mark.parametrize("plan", [Plan(), Plan(requests=60, seconds=5), Plan(requests=2000, seconds=60, seed=9)])
def test_the_load_is_nine_tenths(plan: Plan) -> None:
    assert Stage(plan).load == pytest.approx(0.9, abs=0.001)


def test_the_same_seed_asks_the_same() -> None:
    assert Stage(Plan(seed=5)).tasks == Stage(Plan(seed=5)).tasks
    assert Stage(Plan(seed=5)).tasks != Stage(Plan(seed=6)).tasks


def test_arrivals_come_in_bursts_within_the_time() -> None:
    tasks = Stage(Plan(requests=4000, seconds=50)).tasks
    inside = sum(task.at % 5 < 1.5 for task in tasks) / len(tasks)
    assert 0.61 < inside < 0.71
    assert 0 <= tasks[0].at <= tasks[-1].at < 50
    kinds = {kind: sum(task.kind == kind for task in tasks) / len(tasks) for kind in ("chat", "stream", "geocode")}
    assert kinds["geocode"] == pytest.approx(0.15, abs=0.03)
    assert kinds["stream"] > 0.25


def test_the_configuration_it_shows_is_the_one_it_uses(command: Command, folder: Path) -> None:
    shown = command("demo", "--quick", "--show-config").out
    path = folder / "apikeyrouter.yaml"
    path.write_text(shown.replace("PORT", "1234"))
    stage = Stage(Plan(requests=60, seconds=5))
    config = load(path, environ=stage.secrets)
    assert len(config.keys) == 10
    assert config.pools["org-a"][0].amount == stage.tokens_per_minute("org-a")
    assert command("demo", "--quick", "--show-config", "--json").out.startswith("{")
