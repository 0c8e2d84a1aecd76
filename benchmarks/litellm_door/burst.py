"""Sixty calls at once against room for fifteen to thirty: the engine beside LiteLLM's own strategies.

    .venv-litellm/bin/python benchmarks/litellm_door/burst.py

Three deployments with a limit each; the provider takes everything, so `through` is what the strategy let through, and
`allowed` what the three limits add up to. `uneven` shows how it was spread. Everything over `allowed` would have been a
429 of the provider, or money over budget.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from litellm_burst import CALLS, KEYS, KINDS, Limited, Result, burst, by_engine, exact  # noqa: E402 - found by the path above
from litellm_stage import LISTS, litellm  # noqa: E402

STRATEGIES: dict[str, tuple[str, dict[str, Any]]] = {
    "simple-shuffle": ("rpm tpm rpd", {"routing_strategy": "simple-shuffle"}),
    "usage-based-routing-v2": ("rpm tpm rpd", {"routing_strategy": "usage-based-routing-v2"}),
    "least-busy": ("rpm tpm rpd", {"routing_strategy": "least-busy"}),
    "latency-based-routing": ("rpm tpm rpd", {"routing_strategy": "latency-based-routing"}),
    "cost-based-routing": ("rpm tpm rpd", {"routing_strategy": "cost-based-routing"}),
    "enforce_model_rate_limits": ("rpm tpm rpd", {"optional_pre_call_checks": ["enforce_model_rate_limits"]}),
    "simple-shuffle, budgets": ("budget", {"routing_strategy": "simple-shuffle"}),
    "usage-based-v2, budgets": ("budget", {"routing_strategy": "usage-based-routing-v2"}),
    "least-busy, budgets": ("budget", {"routing_strategy": "least-busy"}),
}
"""By name: the limits it is asked to keep, and how. None of them has a word for requests of a day, so for `rpd` they
are told none; a deployment's `max_budget` is kept beside whatever strategy chooses."""


def line(name: str, kind: Limited, result: Result) -> str:
    spread = "/".join(str(result.upstream[key]) for key in KEYS)
    verdict = "exact" if result.through == kind.fits else f"{result.through - kind.fits:+d}"
    when = f"{result.with_time} of {result.refused}" if result.refused else "-"
    return f"{kind.name:<7} {name:<27} {kind.fits:>7} {result.through:>8} {verdict:>7}  {spread:<10} {when:>12}"


def forget() -> None:
    """LiteLLM keeps strategies as global callbacks; each run starts without those of the one before."""
    for name in LISTS:
        if hasattr(litellm, name):
            getattr(litellm, name)[:] = []


async def main() -> int:
    litellm.suppress_debug_info = True
    for name in ("LiteLLM", "LiteLLM Router"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    print(f"{CALLS} calls at once, {len(KEYS)} deployments")
    print(f"{'limit':<7} {'strategy':<27} {'allowed':>7} {'through':>8} {'':>7}  {'uneven':<10} {'retry-after':>12}")
    kept = True
    for kind in KINDS:
        result = await burst(by_engine(max_wait=0.0), ours=exact(kind))
        kept = kept and result.through == kind.fits
        print(line("ApiKeyRouter", kind, result), flush=True)
        for name, (kinds, settings) in STRATEGIES.items():
            if kind.name in kinds.split():
                forget()
                result = await burst(lambda router: None, given=kind.theirs, **settings)
                print(line(name, kind, result), flush=True)
        forget()
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
