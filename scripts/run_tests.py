"""Runs every check and every test run, and closes with one line that sums them.

Why not only pytest: the doors need environments that conflict with each other, so there are several pytest runs, and a
failing check must fail the whole. Each run writes a JUnit report, from which the closing line is summed; a run that
leaves no report counts as one failure, and so does a failing check. Only the standard library is used here.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / ".reports"
BIN = Path(sys.executable).parent
NO_TESTS = 5
"""pytest's exit code when it selected none."""
RUN_LIMIT_S = 1_500.0
"""A single run that takes longer is ended and counts as failed."""
LANGCHAIN_FROM_CASSETTES = (
    "tests/doors_langchain/test_standard_native.py",
    "tests/doors_langchain/test_standard_delegated.py",
    "tests/doors_langchain/test_agents.py::TestEmbeddings",
)
"""LangChain's own tests, which run once against the simulator and again from cassettes/langchain, without a network."""

OFFLINE = {
    "ANONYMIZED_TELEMETRY": "false",
    "DO_NOT_TRACK": "1",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OTEL_SDK_DISABLED": "false",
}
"""Settings that keep third parties from calling home while the tests run."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many tests of a run ended how; a check counts only when it fails."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


@dataclass(frozen=True, slots=True)
class Step:
    """One command; `report` is where a pytest run leaves its result, None for a plain check.

    `may_be_empty`: a run that is narrowed by the caller's own arguments may select no test.
    """

    name: str
    argv: tuple[str, ...]
    report: Path | None = None
    may_be_empty: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """What a step came to, and how long it took in seconds."""

    step: Step
    tally: Tally
    seconds: float


def checks() -> list[Step]:
    """The fast steps: lint, format, types, import rules."""
    return [
        Step("lint", (str(BIN / "ruff"), "check", "--output-format=concise", ".")),
        Step("format", (str(BIN / "ruff"), "format", "--check", "--output-format=concise", ".")),
        Step("types", (str(BIN / "mypy"),)),
        Step("import rules", (str(BIN / "lint-imports"), "--no-logo")),
    ]


def test_runs(extra: Sequence[str]) -> list[Step]:
    """One pytest run for the main environment, then one for each door that has tests and pins."""
    doors = sorted(
        folder.name.removeprefix("doors_")
        for folder in (ROOT / "tests").glob("doors_*")
        if (ROOT / "requirements" / f"{folder.name.removeprefix('doors_')}.txt").exists()
    )
    ignored = [f"--ignore=tests/doors_{door}" for door in doors]
    steps = [pytest_step("tests", BIN / "python", ["tests", *ignored], extra)]
    for door in doors:
        python = ROOT / f".venv-{door}" / "bin" / "python"
        steps.append(pytest_step(f"tests of the {door} door", python, [f"tests/doors_{door}", "-W", "default"], extra))
    if "langchain" in doors:
        python = ROOT / ".venv-langchain" / "bin" / "python"
        replay = [*LANGCHAIN_FROM_CASSETTES, "--cassettes=replay", "-W", "default"]
        steps.append(pytest_step("langchain from cassettes", python, replay, extra))
    return steps


def pytest_step(name: str, python: Path, arguments: Sequence[str], extra: Sequence[str] = ()) -> Step:
    """A pytest run by the given interpreter that leaves a JUnit report; `extra` are the caller's own arguments."""
    report = REPORTS / f"{name.replace(' ', '-')}.xml"
    argv = (str(python), "-m", "pytest", "-q", f"--junitxml={report}", *arguments, *extra)
    return Step(name, argv, report, may_be_empty=bool(extra))


def run(step: Step) -> Done:
    """Runs one step with its output shown as it comes."""
    print(f"\n=== {step.name}", flush=True)
    if step.report is not None:
        step.report.unlink(missing_ok=True)
    started = time.monotonic()
    code = exit_code(step.argv)
    return Done(step, tally(step, code), time.monotonic() - started)


def exit_code(argv: Sequence[str]) -> int:
    """The command's exit code; 127 when it is not there, 124 when it took longer than the limit."""
    try:
        environment = {**os.environ, **OFFLINE}
        return subprocess.run(argv, cwd=ROOT, env=environment, timeout=RUN_LIMIT_S, check=False).returncode
    except FileNotFoundError:
        print(f"{argv[0]} is missing: run 'make test', which makes the environment.")
        return 127
    except subprocess.TimeoutExpired:
        print(f"ended after {RUN_LIMIT_S:.0f} s, the limit of one run.")
        return 124


def tally(step: Step, code: int) -> Tally:
    """What the step counts for: a report's own figures, and at least one failure when the command failed."""
    if step.report is None:
        return Tally(failed=int(code != 0))
    if not step.report.exists():
        return Tally(failed=1)
    if step.may_be_empty and code == NO_TESTS:
        code = 0
    counted = read_report(step.report)
    return Tally(counted.passed, max(counted.failed, int(code != 0)), counted.skipped)


def read_report(report: Path) -> Tally:
    """The sums of a JUnit report that pytest wrote."""
    total = Tally()
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):  # noqa: S314 - written by our own pytest run
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped = int(suite.get("skipped", 0))
        total += Tally(max(0, int(suite.get("tests", 0)) - failed - skipped), failed, skipped)
    return total


def close(done: Sequence[Done]) -> int:
    """Prints one line a step and the sum on the last line; returns the exit code."""
    print("\n=== summary")
    for one in done:
        outcome = "FAILED" if one.tally.failed else "ok"
        detail = f"  {one.tally}" if one.step.report is not None else ""
        print(f"{one.step.name:<28} {outcome:<7} {one.seconds:6.1f} s{detail}")
    total = sum((one.tally for one in done), Tally())
    print(total, flush=True)
    return 1 if total.failed else 0


def main() -> int:
    """Parses the arguments and runs the steps."""
    parser = argparse.ArgumentParser(description="Run the checks and the tests.")
    parser.add_argument("--checks-only", action="store_true", help="lint, format, types and import rules only")
    parser.add_argument("--tests-only", action="store_true", help="no checks; further arguments go to pytest")
    options, extra = parser.parse_known_args()
    REPORTS.mkdir(exist_ok=True)
    steps = [] if options.tests_only else checks()
    if not options.checks_only:
        steps += test_runs(extra)
    return close([run(step) for step in steps])


if __name__ == "__main__":
    sys.exit(main())
