"""Runs the benchmarks and compares their ratios with the stored ones: `make bench-check`.

Why ratios: the same code varies by more than half between two machines, and between two hours on one. Within one run,
what is measured and its reference suffer alike, so their ratio holds. A ratio counts at its best of several runs,
because noise only ever slows; a real regression stays in all of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STORED = ROOT / "benchmarks" / "ratios.json"
REPORT = ROOT / ".reports" / "bench-check.json"
TOLERANCE = 1.10
RUNS = 3
REFERENCE = "_reference"


def measure() -> dict[str, float]:
    """One run of all benchmarks: the shortest time of each as a multiple of its group's reference."""
    REPORT.parent.mkdir(exist_ok=True)
    options = ["-q", "-o", "python_files=bench_*.py", "-o", "python_functions=bench_*", f"--benchmark-json={REPORT}"]
    subprocess.run(
        [sys.executable, "-m", "pytest", "benchmarks", *options, "--benchmark-only", "--benchmark-quiet"],
        cwd=ROOT,
        check=True,
    )
    return ratios(json.loads(REPORT.read_text(encoding="utf-8"))["benchmarks"])


def ratios(results: list[dict[str, object]]) -> dict[str, float]:
    """Ratios by benchmark name. Raises ValueError for a group without exactly one reference."""
    groups: dict[str, dict[str, float]] = defaultdict(dict)
    for result in results:
        stats = result["stats"]
        if result["group"] is not None and isinstance(stats, dict):
            groups[str(result["group"])][str(result["name"])] = float(stats["min"])
    found: dict[str, float] = {}
    for group, times in groups.items():
        references = [name for name in times if name.partition("[")[0].endswith(REFERENCE)]
        if len(references) != 1:
            raise ValueError(
                f"group '{group}' has {len(references)} benchmarks named *{REFERENCE}; it needs exactly one."
            )
        found |= {
            f"{group}/{name}": time / times[references[0]] for name, time in times.items() if name not in references
        }
    return found


def slower(now: dict[str, float], stored: dict[str, float]) -> list[str]:
    """The names whose ratio is worse than the stored one by more than the tolerance."""
    return [name for name in sorted(now.keys() & stored.keys()) if now[name] > stored[name] * TOLERANCE]


def worse(now: dict[str, float], stored: dict[str, float]) -> list[str]:
    """One sentence for each ratio that is slower, new or gone."""
    sentences = [
        f"{name}: {now[name]:.2f} times its reference, stored {stored[name]:.2f} ({now[name] / stored[name] - 1:+.0%})"
        for name in slower(now, stored)
    ]
    sentences += [f"{name}: not stored yet; run with --store" for name in sorted(now.keys() - stored.keys())]
    return sentences + [f"{name}: stored, but no longer measured" for name in sorted(stored.keys() - now.keys())]


def best(first: dict[str, float], second: dict[str, float]) -> dict[str, float]:
    """The smaller of two ratios, by name."""
    return {name: min(ratio, second.get(name, ratio)) for name, ratio in first.items()}


def main() -> int:
    """Measures until nothing is worse, at most RUNS times; prints a table; returns the exit code."""
    parser = argparse.ArgumentParser(description="Compare the benchmarks' ratios with the stored ones.")
    parser.add_argument("--store", action="store_true", help="store this measurement's ratios (best of three runs)")
    store = parser.parse_args().store
    stored: dict[str, float] = json.loads(STORED.read_text(encoding="utf-8")) if STORED.exists() else {}
    now = measure()
    for _ in range(RUNS - 1):
        if not store and not slower(now, stored):
            break
        now = best(now, measure())
    for name, ratio in sorted(now.items()):
        print(f"{name:<60} {ratio:10.2f}   stored {stored.get(name, float('nan')):10.2f}")
    if store:
        STORED.write_text(
            json.dumps({name: round(now[name], 3) for name in sorted(now)}, indent=2) + "\n", encoding="utf-8"
        )
        return 0
    problems = worse(now, stored)
    print("\n".join(problems) if problems else f"{len(now)} ratios are within 10 % of their stored values.")
    return 1 if problems or not now else 0


if __name__ == "__main__":
    sys.exit(main())
