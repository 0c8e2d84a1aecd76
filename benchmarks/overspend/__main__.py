"""Overshoot of a hard budget by concurrency: this router beside counting afterwards, the same requests in one run.

python benchmarks/overspend --most 2048
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from overspend.game import TROUBLES, Score, play
from overspend.wallets import CountAfter, Ours


def _share(score: Score) -> str:
    return f"{score.overshoot * 100:.4g} %"


def main() -> int:
    """Print the table; 1 if the router overspent where the provider kept to what it may bill."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--most", type=int, default=2_048, help="the highest concurrency, doubled from 1")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("| in flight | " + " | ".join(f"{t.name}: ours / count-after" for t in TROUBLES) + " |")
    print("|--:|" + "--:|" * len(TROUBLES))
    overspent = False
    concurrency = 1
    while concurrency <= options.most:
        cells = []
        for trouble in TROUBLES:
            ours = play(Ours, trouble, concurrency, seed=options.seed)
            after = play(CountAfter, trouble, concurrency, seed=options.seed, by_hold=False)
            overspent = overspent or (ours.overshoot > 0 and trouble.overcharge == 1.0) or ours.overshoot > ours.bound
            cells.append(f"{_share(ours)} / {_share(after)}")
        print(f"| {concurrency:,} | " + " | ".join(cells) + " |", flush=True)
        concurrency *= 2
    return int(overspent)


if __name__ == "__main__":
    raise SystemExit(main())
