"""The report: each kind of traffic, ours beside rate times horizon, with the error that chance alone would show."""

from __future__ import annotations

import argparse
from pathlib import Path

from calibration.play import HORIZONS, Outcome, bucket, consumption
from calibration.scores import Score, pooled
from calibration.traces import BURSTY, KINDS, Trace, azure, synthetic

LOADS = (0.6, 0.8, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description="Calibration of the exhaustion forecast.")
    parser.add_argument("--trace", type=Path, help="a CSV of the Azure LLM inference traces' form")
    parser.add_argument("--seeds", type=int, default=4, help="generated traces of each kind, two hours each")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between predictions")
    options = parser.parse_args()
    groups: dict[str, list[Trace]] = {}
    if options.trace:
        groups["recorded"] = [azure(options.trace)]
    for kind in KINDS:
        groups[kind] = [synthetic(kind, seed) for seed in range(options.seeds)]
    _consumption(groups, options.every)
    _buckets(groups)


def _consumption(groups: dict[str, list[Trace]], every_s: float) -> None:
    horizons = ", ".join(f"{h:.0f}" for h in HORIZONS)
    print(f"Will more than a given room be consumed within {horizons} s? ECE in %, at each horizon and over all.\n")
    print("| traffic | n | ECE | of it chance | " + " | ".join(f"{h:.0f} s" for h in HORIZONS) + " | Brier |"
          " rate x horizon: ECE, Brier | below p50, p90 | pinball p50, p90 |")  # fmt: skip
    print("|" + "--|" * (8 + len(HORIZONS)))
    found: dict[str, Outcome] = {}
    for name, traces in groups.items():
        out = found[name] = Outcome()
        for number, trace in enumerate(traces):
            consumption(trace, number, every_s if name != "recorded" else min(every_s, 2.0), out)
        _row(name, out)
    for title, names in (("bursty, generated", BURSTY), ("all generated", KINDS)):
        both = Outcome(
            ours=pooled([found[name].ours for name in names]), point=pooled([found[name].point for name in names])
        )
        _row(title, both)


def _row(name: str, out: Outcome) -> None:
    each = " | ".join(f"{100 * out.ours.of(h).ece:.1f}" for h in HORIZONS)
    median, ninth = out.quantiles
    covered = f"{100 * median.coverage:.0f} %, {100 * ninth.coverage:.0f} %" if median.count else ""
    loss = f"{median.pinball:.3f}, {ninth.pinball:.3f}" if median.count else ""
    print(
        f"| {name} | {len(out.ours.shots):,} | **{100 * out.ours.ece:.1f}** | {100 * out.ours.noise:.1f} | {each} | "
        f"{out.ours.brier:.3f} | {100 * out.point.ece:.1f}, {out.point.brier:.3f} | {covered} | {loss} |",
        flush=True,
    )


def _buckets(groups: dict[str, list[Trace]]) -> None:
    loads = ", ".join(f"{load:g}" for load in LOADS)
    print(f"\nWill a live minute's bucket refuse a request within its period? Loads {loads}.\n")
    print("| traffic | n | refused | ECE | of it chance | Brier | rate x horizon: ECE, Brier |")
    print("|--|--|--|--|--|--|--|")
    found: dict[str, tuple[Score, Score]] = {}
    for name, traces in groups.items():
        ours, point = found[name] = Score(), Score()
        for number, trace in enumerate(traces):
            for i, load in enumerate(LOADS):
                bucket(trace, 10 * number + i, load, ours, point)
        _bucket_row(name, ours, point)
    for title, names in (("bursty, generated", BURSTY), ("all generated", KINDS)):
        _bucket_row(title, pooled([found[n][0] for n in names]), pooled([found[n][1] for n in names]))


def _bucket_row(name: str, ours: Score, point: Score) -> None:
    happened = sum(shot.happened for shot in ours.shots) / max(1, len(ours.shots))
    print(
        f"| {name} | {len(ours.shots):,} | {100 * happened:.0f} % | **{100 * ours.ece:.1f}** | "
        f"{100 * ours.noise:.1f} | {ours.brier:.3f} | {100 * point.ece:.1f}, {point.brier:.3f} |",
        flush=True,
    )
