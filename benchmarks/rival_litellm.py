"""LiteLLM's pick and our whole acquire+settle, in one process and in turns, so that both meet the same machine.

Runs in the environment of the LiteLLM door and prints one JSON object. LiteLLM is asked as its own completion asks:
`await Router.async_get_available_deployment(...)`, with its default strategy and with the one that looks at usage;
every answer is checked to be a deployment of the group. Both are given the same limits, requests and tokens per minute
of each key. Ours includes the hold of quota, the price, the record that explains the decision, and the settlement.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
sys.path.insert(0, str(Path(__file__).parent))
logging.disable(logging.WARNING)

import grounds  # noqa: E402
import litellm  # noqa: E402

BLOCKS = 12
STRATEGIES = ("simple-shuffle", "usage-based-routing-v2")
MESSAGES = [{"role": "user", "content": "Say hello. " * 300}]


def rival(size: int, strategy: str) -> Callable[[], Awaitable[None]]:
    deployments = [
        {
            "model_name": "m",
            "litellm_params": {
                "model": "openai/gpt-4o-mini",
                "api_key": f"sk-benchmark-{i:08d}",
                "rpm": 10**7,
                "tpm": 10**10,
            },
            "model_info": {"id": f"k{i}"},
        }
        for i in range(size)
    ]
    router = litellm.Router(model_list=deployments, routing_strategy=strategy)
    names = {f"k{i}" for i in range(size)}

    async def pick() -> None:
        found = await router.async_get_available_deployment(model="m", messages=MESSAGES, request_kwargs={})
        assert found["model_info"]["id"] in names

    return pick


def ours(size: int) -> Callable[[], Awaitable[None]]:
    router = grounds.router(size, grounds.AS_THE_RIVAL, ())

    async def pick() -> None:
        grounds.settle_one(router)

    return pick


async def times(pick: Callable[[], Awaitable[None]], count: int) -> list[float]:
    found = []
    for _ in range(count):
        started = perf_counter()
        await pick()
        found.append(perf_counter() - started)
    return found


async def compare(size: int) -> dict[str, float]:
    """Median seconds of each contender; blocks alternate."""
    contenders = {"ours": ours(size), **{name: rival(size, name) for name in STRATEGIES}}
    counts = {name: 200 if name == "ours" else max(4, 150 // (1 + size // 20)) for name in contenders}
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for pick in contenders.values():
        await times(pick, 4)
    for _ in range(BLOCKS):
        for name, pick in contenders.items():
            found[name] += await times(pick, counts[name])
    return {name: median(seconds) for name, seconds in found.items()}


async def main() -> None:
    results = {str(size): await compare(size) for size in (3, 1_000)}
    print(json.dumps({"litellm": version("litellm"), "machine": grounds.machine(), "median_s": results}))


if __name__ == "__main__":
    asyncio.run(main())
