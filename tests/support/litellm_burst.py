"""Sixty calls at once against room for fifteen to thirty: what a strategy lets through to the provider.

The provider takes everything, so that what reaches it is what the strategy allowed. Used by the door's tests for the
engine, and by benchmarks/litellm_door/burst.py to print LiteLLM's own strategies beside it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from litellm_stage import HELLO, MODEL, litellm

from apikeyrouter import ApiKeyRouter
from apikeyrouter.litellm import ApiKeyRoutingStrategy
from apikeyrouter.simulator import Organisation, World, limits, serve

CALLS = 60
KEYS = ("k1", "k2", "k3")
OUTPUT = 100
INPUT = 13
"""Tokens that both the simulator and the engine count for HELLO."""
NO_CAP = 1_000
"""`max_parallel_requests`, so that LiteLLM's own cap on concurrency does not stand in for a strategy."""


@dataclass(frozen=True)
class Limited:
    """One kind of limit: how the engine is told, how LiteLLM is told, how many of the sixty fit."""

    name: str
    fits: int
    ours: Mapping[str, Any]
    theirs: Mapping[str, Any] = field(default_factory=dict)


KINDS = (
    Limited("rpm", 30, {"rpm": 10}, {"rpm": 10}),
    Limited("tpm", 15, {"tpm": 5 * (INPUT + OUTPUT) + 50}, {"tpm": 5 * (INPUT + OUTPUT) + 50}),
    Limited("rpd", 24, {"rpd": 8}),
    Limited(
        "budget",
        18,
        {"rpm": 6_000, "price": {"output": 1}, "budget": {"usd": "0.000650", "per": "day"}},
        {"max_budget": 0.000650, "budget_duration": "1d", "input_cost_per_token": 0, "output_cost_per_token": 1e-6},
    ),
)


@dataclass
class Result:
    """What reached the provider by key, how the sixty ended, and the longest that one of them waited, in seconds."""

    upstream: Counter[str]
    served: int
    refused: int
    with_time: int
    waited_s: float

    @property
    def through(self) -> int:
        return sum(self.upstream.values())


def models(world: World, url: str, given: Mapping[str, Any], ours: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "model_name": "chat",
            "litellm_params": {
                "model": f"openai/{MODEL}",
                "api_key": world.secret(key),
                "api_base": f"{url}/v1",
                "max_parallel_requests": NO_CAP,
                **given,
            },
            "model_info": {"id": key, **({"apikeyrouter": dict(ours)} if ours else {})},
        }
        for key in KEYS
    ]


async def burst(
    prepare: Callable[[litellm.Router], object],
    *,
    given: Mapping[str, Any] | None = None,
    ours: Mapping[str, Any] | None = None,
    **router: Any,
) -> Result:
    """Sixty calls at once through a Router that `prepare` has been at."""
    plenty = limits(rpm=60_000, tpm=90_000_000)
    world = World([Organisation(id=f"org-{key}", keys=(key,), limits=plenty) for key in KEYS])
    async with serve(world, thread=True) as url:
        settings = {"model_list": models(world, url, given or {}, ours or {}), "num_retries": 0, **router}
        made = litellm.Router(**settings)
        prepare(made)
        more: dict[str, Any] = {"max_tokens": OUTPUT, "extra_body": {"metadata": {"sim_output_tokens": OUTPUT}}}
        calls = [made.acompletion(model="chat", messages=HELLO, **more) for _ in range(CALLS)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
    # Read when the provider has closed: its thread may record an answer a moment after it was heard.
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    return Result(
        Counter(seen.key for seen in world.record.all(outcome="admitted")),
        CALLS - len(refused),
        len(refused),
        sum("retry-after" in (getattr(error, "headers", None) or {}) for error in refused),
        max((waited(answer) for answer in answers), default=0.0),
    )


def waited(answer: Any) -> float:
    """Seconds, by the engine's clock; none where it was not the engine that chose."""
    told = getattr(answer, "_hidden_params", {}).get("apikeyrouter") or {}
    return float(told.get("waited_s", 0.0))


def by_engine(max_wait: float, engine: ApiKeyRouter | None = None) -> Callable[[litellm.Router], object]:
    return lambda router: ApiKeyRoutingStrategy.install(router, engine, max_wait=max_wait)


def exact(kind: Limited) -> dict[str, object]:
    """The limit as the engine is told it, with a window that does not refill however long sixty calls take."""
    of = {"rpm": "requests", "tpm": "tokens"}.get(kind.name)
    if of is None:
        return dict(kind.ours)
    return {"limits": [{"of": of, "amount": kind.ours[kind.name], "per": "minute", "window": "rolling"}]}
