"""LiteLLM's Router with its own strategies, told the same limits; runs where litellm is installed.

Its settings are the ones its documentation recommends for several keys of one model: cooldowns on, eight retries, the
request's deadline as timeout. The only file here that imports litellm.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from arena.naive import ATTEMPTS
from arena.play import Player
from arena.profiles import DEADLINE_S, MODEL, Access
from arena.workload import Job

STRATEGIES = ("simple-shuffle", "least-busy", "usage-based-routing-v2", "latency-based-routing")


def _litellm() -> Any:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    logging.disable(logging.WARNING)
    return litellm


def _deployments(access: Access) -> list[dict[str, object]]:
    found = []
    for organisation, key, material in access.flat():
        params: dict[str, object] = {
            "model": f"openai/{MODEL}",
            "api_key": material,
            "api_base": f"{access.url}/v1",
            "max_retries": 0,
        }
        if access.limits:
            share = len(access.keys[organisation])
            rpm, tpm = access.limits[organisation]
            params |= {"rpm": rpm // share, "tpm": tpm // share}
        found.append({"model_name": "chat", "litellm_params": params, "model_info": {"id": key}})
    return found


def _player(router: Any) -> Player:
    async def player(job: Job) -> None:
        body = job.body(MODEL)
        async with asyncio.timeout(DEADLINE_S):
            await router.acompletion(model="chat", messages=body["messages"], max_tokens=job.max_tokens)

    return player


@asynccontextmanager
async def litellm_router(access: Access, strategy: str) -> AsyncIterator[Player]:
    """One of LiteLLM's strategies. It cannot be told that keys share a limit, so each gets its part of it."""
    litellm = _litellm()
    yield _player(
        litellm.Router(
            model_list=_deployments(access), routing_strategy=strategy, num_retries=ATTEMPTS, timeout=DEADLINE_S
        )
    )


@asynccontextmanager
async def our_strategy(access: Access) -> AsyncIterator[Player]:
    """LiteLLM's Router with our strategy installed."""
    litellm = _litellm()
    from apikeyrouter.litellm import ApiKeyRoutingStrategy

    models = _deployments(access)
    for (organisation, _, _), model in zip(access.flat(), models, strict=True):
        params = model["litellm_params"]
        assert isinstance(params, dict)
        params.pop("rpm", None)
        params.pop("tpm", None)
        ours: dict[str, object] = {"pool": organisation}
        if access.limits:
            ours["rpm"], ours["tpm"] = access.limits[organisation]
        info = model["model_info"]
        assert isinstance(info, dict)
        info["apikeyrouter"] = ours
    router = litellm.Router(model_list=models, num_retries=2, timeout=DEADLINE_S)
    ApiKeyRoutingStrategy.install(router, max_wait=DEADLINE_S)
    yield _player(router)
