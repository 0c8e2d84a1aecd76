"""Whoever allows a call so many seconds has an answer or a refusal by then, counted from the beginning."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import litellm
import pytest
from litellm_stage import HELLO, Stage
from litellm_virtual import virtual_stage

from apikeyrouter.simulator import Fault, run_virtual

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def in_virtual_time(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        run_virtual(test())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def hold(stage: Stage, *names: str) -> list[dict[str, Any]]:
    """Take a place at each of these models, for as long as the answer of this is kept."""
    held: list[dict[str, Any]] = [{} for _ in names]
    for name, each in zip(names, held, strict=True):
        await stage.router.async_get_available_deployment(model=name, messages=HELLO, request_kwargs=each)
    return held


async def took(call: Awaitable[Any]) -> tuple[float, Any]:
    """Seconds until the outcome, and the answer or the error."""
    began = asyncio.get_running_loop().time()
    (answer,) = await asyncio.gather(call, return_exceptions=True)
    return asyncio.get_running_loop().time() - began, answer


@in_virtual_time
async def test_who_cannot_be_answered_in_time_is_refused_in_time() -> None:
    async with virtual_stage({"key": "a1", "rps": 1}) as stage:
        stage.world.faults.add(Fault(kind="delay", seconds=0.6))
        await stage.chat()
        ends = await asyncio.gather(*(took(stage.chat(timeout=3)) for _ in range(9)))
        answered = [seconds for seconds, end in ends if not isinstance(end, Exception)]
        refused = [(seconds, end) for seconds, end in ends if isinstance(end, litellm.RateLimitError)]
        assert len(answered) >= 2
        assert len(answered) + len(refused) == 9
        assert max(seconds for seconds, _ in ends) < 3
        assert all(int(end.headers["retry-after"]) >= 1 for _, end in refused)


@in_virtual_time
async def test_a_place_that_gets_free_too_late_for_the_answer_is_not_waited_for() -> None:
    """Nobody knows when a place gets free, so the call waits, until its answer would be late."""
    async with virtual_stage({"key": "a1", "concurrency": 1}) as stage:
        stage.world.faults.add(Fault(kind="delay", seconds=1.0))
        await stage.chat()
        held = await hold(stage, "chat")
        seconds, end = await took(stage.chat(timeout=10))
        assert isinstance(end, litellm.RateLimitError)
        assert 8 < seconds < 9
        held.clear()


@in_virtual_time
async def test_a_bound_of_the_door_leaves_time_enough() -> None:
    """Where the door's own bound comes first, no more is kept free."""
    async with virtual_stage({"key": "a1", "concurrency": 1}) as stage:
        stage.world.faults.add(Fault(kind="delay", seconds=1.0))
        await stage.chat()
        held = await hold(stage, "chat")
        seconds, end = await took(stage.chat(timeout=10, metadata={"apikeyrouter": {"max_wait": 5}}))
        assert isinstance(end, litellm.RateLimitError)
        assert 4.9 < seconds < 5.1
        held.clear()


@in_virtual_time
async def test_litellms_timeout_is_of_one_http_call() -> None:
    """Its clock starts after the pick: what is answered late all the same is not thrown away."""
    async with virtual_stage({"key": "a1", "rps": 1}) as stage:
        await stage.chat()
        stage.world.faults.add(Fault(kind="delay", seconds=1.6))
        seconds, answer = await took(stage.chat(timeout=2))
        assert answer._hidden_params["apikeyrouter"]["waited_s"] > 0.5
        assert seconds > 2


@in_virtual_time
async def test_a_retry_waits_only_for_what_is_left() -> None:
    async with virtual_stage(*({"key": key, "concurrency": 1} for key in ("a1", "b1")), num_retries=3) as stage:
        held = await hold(stage, "chat")
        stage.world.revoke("a1")
        stage.world.revoke("b1")
        stage.world.faults.add(Fault(kind="delay", seconds=4.0))
        seconds, end = await took(stage.chat(timeout=10))
        assert isinstance(end, litellm.RateLimitError)
        assert 7 < seconds < 10
        assert stage.seen() == 1
        held.clear()


@in_virtual_time
async def test_a_fallback_waits_only_for_what_is_left() -> None:
    full = ({"key": "a1", "concurrency": 1}, {"key": "b1", "group": "spare", "concurrency": 1})
    async with virtual_stage(*full, fallbacks=[{"chat": ["spare"]}]) as stage:
        held = await hold(stage, "chat", "spare")
        seconds, end = await took(stage.chat(timeout=10))
        assert isinstance(end, litellm.RateLimitError)
        assert 9 < seconds < 10
        held.clear()


@in_virtual_time
async def test_calls_of_one_session_have_a_time_each() -> None:
    """LiteLLM's trace may be the session's: what one call has used up is not taken from the next."""
    async with virtual_stage({"key": "a1", "concurrency": 1}) as stage:
        held = await hold(stage, "chat")
        for _ in range(2):
            seconds, end = await took(stage.chat(timeout=10, litellm_trace_id="session"))
            assert isinstance(end, litellm.RateLimitError)
            assert 9 < seconds < 10
        held.clear()
