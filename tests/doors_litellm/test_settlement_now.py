"""The same for calls without a loop, which LiteLLM tells of in other ways, and for calls never heard of again."""

from __future__ import annotations

import asyncio
from typing import Any

import litellm
import pytest
from litellm_endings import EXACT, UNANSWERED, Endings, failing, hang
from litellm_stage import HELLO, Opener, Stage, deployment

from apikeyrouter import ApiKeyRouter
from apikeyrouter.testing import ManualClock

matrix = Endings()
ends = matrix.ends


@ends("settled")
async def chat_now(stage: Stage) -> None:
    await asyncio.to_thread(stage.chat_now)


@ends("settled")
async def embedding_now(stage: Stage) -> None:
    await asyncio.to_thread(stage.router.embedding, model="chat", input="the sea")


@ends("settled")
async def stream_now(stage: Stage) -> None:
    await asyncio.to_thread(lambda: [*stage.chat_now(stream=True)])


@ends("settled")
async def responses_now(stage: Stage) -> None:
    await asyncio.to_thread(stage.router.responses, model="chat", input="The sea", max_output_tokens=16)


@ends("settled")
async def responses_stream_now(stage: Stage) -> None:
    asked: dict[str, Any] = {"model": "chat", "input": "The sea", "max_output_tokens": 16, "stream": True}
    await asyncio.to_thread(lambda: [*stage.router.responses(**asked)])


@ends("settled")
async def in_a_running_loop(stage: Stage) -> None:
    stage.chat_now()


@ends("server_error", "settled", fallbacks=[{"chat": ["spare"]}])
async def failed_then_fell_back_now(stage: Stage) -> None:
    stage.world.faults.fail_next(1)
    await asyncio.to_thread(stage.chat_now)


@ends("abandoned")
async def stream_now_broken_off(stage: Stage) -> None:
    await asyncio.to_thread(lambda: next(iter(stage.chat_now(stream=True))) and None)


@ends("server_error", "settled", num_retries=1)
async def failed_then_retried_now(stage: Stage) -> None:
    stage.world.faults.fail_next(1)
    await asyncio.to_thread(stage.chat_now)


@ends("timeout")
async def timed_out_now(stage: Stage) -> None:
    hang(stage)
    await failing(asyncio.to_thread(stage.chat_now, timeout=UNANSWERED), litellm.Timeout)


@pytest.mark.parametrize("name", matrix.known)
async def test_a_call_without_a_loop_ends_with_its_lease(opened: Opener, name: str) -> None:
    await matrix.play(opened, name)


@pytest.mark.parametrize(("stream", "lasts_s"), [(False, 20.0 + 30.0), (True, 600.0 + 30.0)])
async def test_a_call_that_is_never_heard_of_again_expires_with_its_estimate(
    opened: Opener, stream: bool, lasts_s: float
) -> None:
    clock = ManualClock()
    stage = await opened(
        config=ApiKeyRouter(clock=clock), models=lambda world, url: [deployment(world, url, "a1", **EXACT)]
    )
    forgotten: dict[str, Any] = {"timeout": 20, "max_tokens": 16, "stream": stream}
    await stage.router.async_get_available_deployment(model="chat", messages=HELLO, request_kwargs=forgotten)
    clock.advance(lasts_s - 1.0)
    assert stage.engine.get_state_summary().open_leases == 1
    clock.advance(2.0)
    assert stage.engine.get_state_summary().open_leases == 0
    assert stage.outcomes == ["expired"]
