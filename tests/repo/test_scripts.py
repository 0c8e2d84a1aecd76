"""The scripts behind `make`: a sum that cannot show a failure would hide every other one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import bench_check
import run_tests
from run_tests import Done, Step, Tally

ROOT = Path(__file__).resolve().parents[2]

PASSING = "def test_a(): pass\ndef test_b(): pass\n"
MIXED = """
import pytest
def test_a(): pass
def test_b(): assert 0
def test_c(): pytest.skip("why")
@pytest.fixture
def broken(): raise ValueError
def test_d(broken): pass
"""


@pytest.fixture(autouse=True)
def bare_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small runs below need no plugin, and start faster without."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def pytest_run(tmp_path: Path, source: str) -> Done:
    test = tmp_path / "test_it.py"
    test.write_text(source, encoding="utf-8")
    report = tmp_path / "report.xml"
    command = (
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-c",
        "/dev/null",
        f"--rootdir={tmp_path}",
        f"--junitxml={report}",
        str(test),
    )
    return run_tests.run(Step("it", command, report))


def test_a_report_is_counted(tmp_path: Path) -> None:
    assert pytest_run(tmp_path, PASSING).tally == Tally(passed=2)


def test_failures_errors_and_skips_are_told_apart(tmp_path: Path) -> None:
    assert pytest_run(tmp_path, MIXED).tally == Tally(passed=1, failed=2, skipped=1)


@pytest.mark.parametrize("source", ["", "import nothing_of_that_name\n", "def test_a(:\n", "import os; os._exit(3)\n"])
def test_a_run_without_tests_or_report_is_a_failure(tmp_path: Path, source: str) -> None:
    assert pytest_run(tmp_path, source).tally.failed == 1


def test_a_missing_command_is_a_failure() -> None:
    assert run_tests.run(Step("gone", ("no-such-command-anywhere",))).tally == Tally(failed=1)


def test_the_sum_stands_alone_on_the_last_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    report = tmp_path / "x.xml"
    done = [
        Done(Step("lint", ("ruff",)), Tally(), 0.1),
        Done(Step("tests", ("pytest",), report), Tally(5, 0, 2), 1.0),
        Done(Step("a door", ("pytest",), report), Tally(3, 0, 1), 1.0),
    ]
    assert run_tests.close(done) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "8 passed, 0 failed, 3 skipped"


def test_a_failing_check_fails_the_sum(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tests.close([Done(Step("lint", ("ruff",)), Tally(failed=1), 0.1)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "0 passed, 1 failed, 0 skipped"


def result(name: str, group: str | None, seconds: float) -> dict[str, object]:
    return {"name": name, "group": group, "stats": {"min": seconds}}


def test_ratios_are_taken_within_a_group() -> None:
    results = [result("bench_x", "g", 6.0), result("bench_reference", "g", 2.0), result("bench_free", None, 9.0)]
    assert bench_check.ratios(results) == {"g/bench_x": 3.0}


def test_a_group_needs_one_reference() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        bench_check.ratios([result("bench_x", "g", 6.0)])


def test_ten_percent_is_the_line() -> None:
    assert not bench_check.worse({"a": 1.1}, {"a": 1.0})
    assert bench_check.worse({"a": 1.11}, {"a": 1.0}) == ["a: 1.11 times its reference, stored 1.00 (+11%)"]
    assert len(bench_check.worse({"new": 1.0}, {"old": 1.0})) == 2


@pytest.mark.parametrize("script", ["env.sh", "lock.sh"])
def test_shell_scripts_parse(script: str) -> None:
    assert subprocess.run(["sh", "-n", ROOT / "scripts" / script], check=False).returncode == 0
