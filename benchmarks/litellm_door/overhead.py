"""What a pick costs beyond LiteLLM's own filter, and what LiteLLM's own strategies cost beyond it.

    .venv-litellm/bin/python benchmarks/litellm_door/overhead.py

For 3, 30 and 150 deployments: LiteLLM's filter alone (`async_get_healthy_deployments`); what the engine adds to it (the
call measured, quota and money held, the mark placed), taken directly, with the filter's answer at hand; and the whole
pick of each built-in strategy, filter included, in memory. Microseconds of CPU time for one pick, the least and the
median of many rounds that take turns, so that a busy machine disturbs all alike. Each round picks a few times before it
is timed, because the first picks after other work pay for what that left in the processor's caches (on the machine of
the documented figures ten times as much, in every column). Leases are released between rounds, outside the clock.
Absolute figures vary with the machine; what holds everywhere is that the engine adds less than the cheapest built-in
strategy where there is anything to choose from.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from statistics import median
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import litellm

from apikeyrouter.litellm import ApiKeyRoutingStrategy

SIZES = (3, 30, 150)
ROUNDS = 60
WARM = 50
PICKS = 100
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
    began = 0
    for number in range(WARM + PICKS):
        if number == WARM:
            began = time.process_time_ns()
        await made.async_get_healthy_deployments(model="chat", request_kwargs=kwargs(), messages=MESSAGES)
    return (time.process_time_ns() - began) / PICKS / 1000


async def picked(made: litellm.Router) -> float:
    began, kept = 0, []
    for number in range(WARM + PICKS):
        if number == WARM:
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


async def measure(size: int) -> dict[str, tuple[float, float]]:
    """(least, median) by what was timed."""
    plain, ours = router(size), router(size)
    strategy = ApiKeyRoutingStrategy.install(ours)
    await adding(ours)
    others = {name: router(size, routing_strategy=name) for name in BUILT_IN}
    times: dict[str, list[float]] = {name: [] for name in ("filter", "added", *BUILT_IN)}
    gc.collect()
    gc.freeze()  # or every column would pay for looking through LiteLLM's million objects
    for _ in range(ROUNDS):
        times["filter"].append(await filtered(plain))
        times["added"].append(await picked(ours))
        release(strategy)
        for name, made in others.items():
            times[name].append(await picked(made))
    return {name: (min(each), median(each)) for name, each in times.items()}


def shown(found: tuple[float, float]) -> str:
    return f"{found[0]:.0f} ({found[1]:.0f})"


async def main() -> int:
    dearer = False
    print("microseconds a pick: least (median)")
    print(f"{'deployments':>12} {'filter':>12} {'added':>12}" + "".join(f"{name:>24}" for name in BUILT_IN))
    for size in SIZES:
        found = await measure(size)
        cheapest = min(found[name][0] for name in BUILT_IN) - found["filter"][0]
        dearer = dearer or (size > SIZES[0] and found["added"][0] > cheapest)
        rest = "".join(f"{shown(found[name]):>24}" for name in BUILT_IN)
        print(f"{size:>12} {shown(found['filter']):>12} {shown(found['added']):>12}{rest}", flush=True)
    return int(dearer)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
