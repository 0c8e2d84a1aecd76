"""What a pick costs beyond LiteLLM's own filter, and what LiteLLM's own strategies cost beyond it.

    .venv-litellm/bin/python benchmarks/litellm_door/overhead.py

For 3, 30 and 150 deployments: LiteLLM's filter alone (`async_get_healthy_deployments`); what the engine adds to it (the
call measured, quota and money held, the mark placed), which is a pick with the filter's answer at hand less the asking
for that answer; and the whole pick of each built-in strategy, filter included, in memory. Microseconds of CPU time for
one pick, the least and the median of many rounds. Each column is timed in processes of its own, as its users have it,
which take turns. Each round picks twice for every deployment before it is timed, because the first picks after other
work pay for what that left in the processor's caches (on the machine of the documented figures the very first ten times
as much, in every column). Leases are released between rounds, outside the clock. Absolute figures vary with the
machine; what holds everywhere is that the engine adds less than the cheapest built-in strategy where there is anything
to choose from.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from statistics import median
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import litellm

from apikeyrouter.litellm import ApiKeyRoutingStrategy

SIZES = (3, 30, 150)
ROUNDS = 30
TURNS = 2
PICKS = 100
WARM = 30
OURS = "apikeyrouter"
BUILT_IN = ("simple-shuffle", "least-busy", "usage-based-routing-v2", "latency-based-routing")
MESSAGES = [{"role": "user", "content": "What does the sea say today, and what did it say yesterday?"}]


def router(size: int, **more: Any) -> litellm.Router:
    models = [
        {
            "model_name": "chat",
            "litellm_params": {
                "model": "openai/gpt-4o-mini",
                "api_key": f"sk-{n:020d}",
                "api_base": "http://127.0.0.1:9/v1",
            },
            "model_info": {"id": f"key-{n}", "apikeyrouter": {"rpm": 60_000, "tpm": 900_000_000}},
        }
        for n in range(size)
    ]
    return litellm.Router(model_list=models, disable_cooldowns=True, **more)


def kwargs() -> dict[str, Any]:
    return {"metadata": {"model_group": "chat"}, "max_tokens": 100, "litellm_trace_id": "t", "stream": False}


async def filtered(made: litellm.Router) -> float:
    began, warm = 0, 2 * len(made.model_list) + WARM
    for number in range(warm + PICKS):
        if number == warm:
            began = time.process_time_ns()
        await made.async_get_healthy_deployments(model="chat", request_kwargs=kwargs(), messages=MESSAGES)
    return (time.process_time_ns() - began) / PICKS / 1000


async def picked(made: litellm.Router) -> float:
    began, warm, kept = 0, 2 * len(made.model_list) + WARM, []
    for number in range(warm + PICKS):
        if number == warm:
            began = time.process_time_ns()
        given = kwargs()
        await made.async_get_available_deployment(model="chat", request_kwargs=given, messages=MESSAGES)
        kept.append(given)
    return (time.process_time_ns() - began) / PICKS / 1000


def release(strategy: Any) -> None:
    """Give back what was held, so that each round finds the same quota."""
    for lease in list(strategy.engine._router.ledger.open_leases.values()):
        strategy.engine.release(lease)


async def adding(made: litellm.Router) -> litellm.Router:
    """The same Router with its filter's answer at hand, so that what is timed is what the engine adds."""
    pool = await made.async_get_healthy_deployments(model="chat", request_kwargs=kwargs(), messages=MESSAGES)

    async def answered(**_: Any) -> list[Any]:
        return pool  # a list of its own each time is the filter's work

    made.async_get_healthy_deployments = answered  # type: ignore[method-assign]
    return made


async def measure(column: str, size: int) -> dict[str, list[float]]:
    """Rounds of what one process times: our part beside the filter alone, or a built-in strategy."""
    times: dict[str, list[float]] = defaultdict(list)
    if column == OURS:
        plain, made = router(size), router(size)
        strategy = ApiKeyRoutingStrategy.install(made)
        await adding(made)
    else:
        plain, made, strategy = None, router(size, routing_strategy=column), None
    gc.collect()
    gc.freeze()  # or every column would pay for looking through LiteLLM's million objects
    for _ in range(ROUNDS):
        if plain is not None:
            times["filter"].append(await filtered(plain))
        asking = 0.0 if strategy is None else await filtered(made)
        times[column].append(await picked(made) - asking)
        if strategy is not None:
            release(strategy)
    return times


def in_turns(size: int) -> dict[str, tuple[float, float]]:
    """(least, median) by column, each in processes of its own, which take turns."""
    times: dict[str, list[float]] = defaultdict(list)
    for _ in range(TURNS):
        for column in (OURS, *BUILT_IN):
            argv = [sys.executable, __file__, column, str(size)]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=True)
            for name, rounds in json.loads(done.stdout.splitlines()[-1]).items():
                times[name] += rounds
    return {name: (min(each), median(each)) for name, each in times.items()}


def shown(found: tuple[float, float]) -> str:
    return f"{found[0]:.0f} ({found[1]:.0f})"


def main() -> int:
    dearer = False
    print("microseconds a pick: least (median)")
    print(f"{'deployments':>12} {'filter':>12} {'added':>12}" + "".join(f"{name:>24}" for name in BUILT_IN))
    for size in SIZES:
        found = in_turns(size)
        cheapest = min(found[name][0] for name in BUILT_IN) - found["filter"][0]
        dearer = dearer or (size > SIZES[0] and found[OURS][0] > cheapest)
        rest = "".join(f"{shown(found[name]):>24}" for name in BUILT_IN)
        print(f"{size:>12} {shown(found['filter']):>12} {shown(found[OURS]):>12}{rest}", flush=True)
    return int(dearer)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(asyncio.run(measure(sys.argv[1], int(sys.argv[2])))))
    else:
        sys.exit(main())
