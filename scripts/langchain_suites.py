"""LangChain's standard integration suite over our pools and over ChatLiteLLMRouter, side by side: one table.

    .venv/bin/python scripts/langchain_suites.py

Both run in one environment of their own (litellm needs an older openai than our door's environment has), in the same
harness, against the same simulated keys whose first ones fail. Ends with 1 only if one of ours fails.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

from litellm_lanes import LIMIT
from run_tests import REPORTS, Done, Step, Tally, close, pytest_step, run
from torture import attempt, environment

RIVAL = "langchain-litellm>=0.11,<0.12"
OURS = ("tests/doors_langchain/test_standard_delegated.py", "tests/doors_langchain/test_standard_native.py")
ROWS = {
    "OpenAI": ("TestOpenAIPool", "TestNativeOpenAI", "TestRivalOpenAI"),
    "Anthropic": ("TestAnthropicPool", "TestNativeAnthropic", "TestRivalAnthropic"),
    "OpenAI and Anthropic mixed": ("TestMixedPool", "TestNativeMixed", "TestRivalMixed"),
}
"""Pool, then the test classes: ours over other integrations, ours natively, the rival's."""


def outcomes(report: Path) -> dict[str, Counter[str]]:
    """passed, failed and skipped of each test class in a JUnit report."""
    found: dict[str, Counter[str]] = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):  # noqa: S314 - written by our own pytest run
        kinds = {child.tag for child in case}
        kind = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        found.setdefault(case.get("classname", "").rpartition(".")[2], Counter())[kind] += 1
    return found


def table(found: dict[str, Counter[str]]) -> str:
    """Markdown: passed / failed / skipped."""
    lines = [
        "| keys, the first four failing | ours over ChatOpenAI, ChatAnthropic | ours, native | ChatLiteLLMRouter |",
        "|--|--:|--:|--:|",
    ]
    for pool, classes in ROWS.items():
        counts = [found.get(name, Counter()) for name in classes]
        cells = [f"{c['passed']} / {c['failed']} / {c['skipped']}" if c else "not run" for c in counts]
        lines.append(f"| {pool} | {' | '.join(cells)} |")
    return "\n".join(lines)


def failures(report: Path) -> list[str]:
    """The names of failed tests."""
    cases = ElementTree.parse(report).getroot().iter("testcase")  # noqa: S314 - written by our own pytest run
    return sorted(
        f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        for case in cases
        if {child.tag for child in case} & {"failure", "error"}
    )


def suites(extra: list[str]) -> list[Done]:
    """Both runs; the rival's failures are told and not counted."""
    python = environment(".venv-langchain-litellm", "langchain", RIVAL, LIMIT)
    arguments = ["-W", "default", "-k", "not test_stream_time"]
    ours = attempt("LangChain's suite over ours", python, [*OURS, *arguments], extra)
    if python is None:
        return [ours]
    step = pytest_step("LangChain's suite over the rival", python, ["benchmarks/rival_langchain.py", *arguments], extra)
    rival = run(step)
    reports = [done.step.report for done in (ours, rival) if done.step.report is not None and done.step.report.exists()]
    found: dict[str, Counter[str]] = {}
    for report in reports:
        found.update(outcomes(report))
    print(f"\nPassed / failed / skipped.\n\n{table(found)}\n")
    for report in reports[1:]:
        print("\n".join(f"  the rival fails {name}" for name in failures(report)))
    return [ours, Done(Step("LangChain's suite over the rival", ()), Tally(), rival.seconds)]


def main() -> int:
    """Run both, print the table."""
    REPORTS.mkdir(exist_ok=True)
    return close(suites(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
