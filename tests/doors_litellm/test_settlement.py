"""Every way a LiteLLM call can end, and that its lease ends with it: once, rightly, and nothing stays open."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import litellm
import pytest
from litellm_stage import HELLO, Opener, Stage, deployment, until

from apikeyrouter.simulator import Fault, World

Scenario = Callable[[Stage], Awaitable[None]]
SCENARIOS: dict[str, tuple[Scenario, list[str], dict[str, Any]]] = {}
"""By name: what is done, how its leases must have ended in the order taken, and the Router's settings."""


def ends(*outcomes: str, **router: Any) -> Callable[[Scenario], Scenario]:
    def keep(scenario: Scenario) -> Scenario:
        SCENARIOS[scenario.__name__] = (scenario, list(outcomes), router)
        return scenario

    return keep


def hang(stage: Stage, **where: Any) -> None:
    stage.world.faults.add(Fault(kind="hang", seconds=30.0, **where))


async def failing(call: Awaitable[Any], *kinds: type[BaseException]) -> None:
    with suppress(*(kinds or (Exception,))):
        await call
        raise AssertionError("the call should have failed")


# --- calls that succeed, by kind ------------------------------------------------------------------------------------


@ends("settled")
async def chat(stage: Stage) -> None:
    await stage.chat()


@ends("settled")
async def embedding(stage: Stage) -> None:
    await stage.router.aembedding(model="chat", input=["the sea", "the sky"])


@ends("settled")
async def text(stage: Stage) -> None:
    await stage.router.atext_completion(model="chat", prompt="The sea", max_tokens=16)


@ends("settled")
async def responses(stage: Stage) -> None:
    await stage.router.aresponses(model="chat", input="The sea", max_output_tokens=16)


@ends("settled")
async def messages(stage: Stage) -> None:
    await stage.router.aanthropic_messages(model="chat", messages=HELLO, max_tokens=16)


@ends("settled")
async def chat_stream(stage: Stage) -> None:
    async for _ in await stage.chat(stream=True):
        pass


@ends("settled")
async def text_stream(stage: Stage) -> None:
    async for _ in await stage.router.atext_completion(model="chat", prompt="The sea", max_tokens=16, stream=True):
        pass


@ends("settled")
async def responses_stream(stage: Stage) -> None:
    async for _ in await stage.router.aresponses(model="chat", input="The sea", max_output_tokens=16, stream=True):
        pass


@ends("settled")
async def messages_stream(stage: Stage) -> None:
    async for _ in await stage.router.aanthropic_messages(model="chat", messages=HELLO, max_tokens=16, stream=True):
        pass


@ends("settled")
async def mocked_answer(stage: Stage) -> None:
    await stage.chat(mock_response="The sea is wide.")


# --- calls that fail ------------------------------------------------------------------------------------------------


@ends("server_error", "settled", num_retries=1)
async def failed_then_retried(stage: Stage) -> None:
    stage.world.faults.fail_next(1)
    await stage.chat()


@ends("server_error", "server_error", "server_error", num_retries=2)
async def failed_to_the_last_retry(stage: Stage) -> None:
    stage.world.faults.fail_next(3)
    await failing(stage.chat())


@ends("server_error", "settled", fallbacks=[{"chat": ["spare"]}])
async def failed_then_fell_back(stage: Stage) -> None:
    stage.world.faults.fail_next(1)
    await stage.chat()


@ends("server_error", "settled", num_retries=1)
async def stream_refused_then_retried(stage: Stage) -> None:
    stage.world.faults.fail_next(1)
    async for _ in await stage.chat(stream=True):
        pass


@ends("invalid")
async def a_bad_request(stage: Stage) -> None:
    stage.world.faults.fail_next(1, error="bad_request")
    await failing(stage.chat())


@ends("too_long")
async def longer_than_the_context(stage: Stage) -> None:
    await failing(stage.chat(messages=[{"role": "user", "content": "word " * 200_000}]))


@ends("timeout")
async def timed_out(stage: Stage) -> None:
    hang(stage)
    await failing(stage.chat(timeout=0.3), litellm.Timeout)


@ends("timeout", "timeout", num_retries=1)
async def timed_out_twice(stage: Stage) -> None:
    hang(stage)
    await failing(stage.chat(timeout=0.3), litellm.Timeout)


@ends("network")
async def dropped(stage: Stage) -> None:
    stage.world.faults.add(Fault(kind="drop"))
    await failing(stage.chat())


@ends("invalid")
async def an_image_nobody_makes(stage: Stage) -> None:
    await failing(stage.router.aimage_generation(model="chat", prompt="the sea"))


@ends("invalid")
async def speech_nobody_speaks(stage: Stage) -> None:
    await failing(stage.router.aspeech(model="chat", input="the sea", voice="alloy"))


# --- calls that nobody waits for any more ---------------------------------------------------------------------------


@ends("abandoned")
async def cancelled(stage: Stage) -> None:
    hang(stage)
    task = asyncio.ensure_future(stage.chat())
    await until(lambda: any(one.counters.in_flight for one in stage.world.organisations.values()))
    task.cancel()
    await failing(task, asyncio.CancelledError)
    del task


@ends("abandoned")
async def waited_for_too_long(stage: Stage) -> None:
    hang(stage)
    await failing(asyncio.wait_for(stage.chat(), 0.3), TimeoutError)


@ends("abandoned", num_retries=3)
async def cancelled_with_retries(stage: Stage) -> None:
    hang(stage)
    await failing(asyncio.wait_for(stage.chat(), 0.3), TimeoutError)


@ends("abandoned")
async def cancelled_with_metadata_that_lives_on(stage: Stage) -> None:
    hang(stage)
    stage.extra["metadata"] = {"tags": ["kept"]}
    await failing(asyncio.wait_for(stage.chat(metadata=stage.extra["metadata"]), 0.3), TimeoutError)


@ends("abandoned")
async def stream_broken_off(stage: Stage) -> None:
    async for _ in await stage.chat(stream=True):
        break


@ends("abandoned")
async def stream_closed(stage: Stage) -> None:
    stream = await stage.chat(stream=True)
    await anext(stream)
    await stream.aclose()


@ends("abandoned")
async def stream_never_read(stage: Stage) -> None:
    await stage.chat(stream=True)


@ends("abandoned")
async def stream_cancelled(stage: Stage) -> None:
    stage.world.faults.add(Fault(kind="slow_body", seconds=5.0))
    begun = asyncio.Event()

    async def read() -> None:
        stream = await stage.chat(stream=True)
        begun.set()
        async for _ in stream:
            pass

    task = asyncio.ensure_future(read())
    await begun.wait()
    task.cancel()
    await failing(task, asyncio.CancelledError)
    del task


@ends("abandoned")
async def responses_stream_broken_off(stage: Stage) -> None:
    async for _ in await stage.router.aresponses(model="chat", input="The sea", max_output_tokens=16, stream=True):
        break


@ends("network")
async def stream_that_breaks(stage: Stage) -> None:
    stage.world.faults.add(Fault(kind="stream_error", after=2))
    await failing(_read(stage))


@ends("network")
async def stream_whose_connection_drops(stage: Stage) -> None:
    stage.world.faults.add(Fault(kind="drop", after=3))
    await failing(_read(stage))


async def _read(stage: Stage) -> None:
    async for _ in await stage.chat(stream=True, max_tokens=64):
        pass


@ends("settled", "abandoned", "abandoned")
async def the_losers_of_a_race(stage: Stage) -> None:
    stage.world.faults.add(Fault(kind="hang", seconds=30.0, model="gpt-4o"))
    await stage.router.abatch_completion_fastest_response(model="chat, slow, slow", messages=HELLO, max_tokens=16)


# --- calls rejected between the pick and the provider ---------------------------------------------------------------


@ends("settled", "released")
async def one_too_many_at_a_time(stage: Stage) -> None:
    answers = await asyncio.gather(
        *(stage.router.acompletion(model="narrow", messages=HELLO, max_tokens=16) for _ in range(2)),
        return_exceptions=True,
    )
    if not any(isinstance(answer, Exception) for answer in answers):
        pytest.skip("this LiteLLM lets the second wait; it rejected it from 1.103 on")


@ends("settled", "released")
async def answered_from_the_cache(stage: Stage) -> None:
    litellm.cache = litellm.Cache()
    await stage.chat(caching=True)
    await until(lambda: bool(litellm.cache.cache.cache_dict))
    await stage.chat(caching=True)
    assert stage.seen() == 1


@ends("released")
async def options_nobody_supports(stage: Stage) -> None:
    await failing(stage.chat(model="claude", logit_bias={"1": 1}), litellm.UnsupportedParamsError)


# --- callers with ideas ---------------------------------------------------------------------------------------------


@ends("settled")
async def silenced_callbacks(stage: Stage) -> None:
    await stage.chat(**{"no-log": True})


@ends("settled")
async def silenced_callbacks_of_a_stream(stage: Stage) -> None:
    async for _ in await stage.chat(stream=True, **{"no-log": True}):
        pass


@ends("settled", "settled")
async def a_forged_lease(stage: Stage) -> None:
    first = await stage.chat()
    lease = first._hidden_params["apikeyrouter"]["decision_id"].replace("dec", "lease")
    await stage.chat(metadata={"apikeyrouter_lease": lease})


@ends(*["settled"] * 6)
async def metadata_shared_by_many(stage: Stage) -> None:
    shared = {"mine": 1}
    await asyncio.gather(*(stage.chat(metadata=shared) for _ in range(6)))


@ends()
async def a_key_of_the_callers_own(stage: Stage) -> None:
    await stage.chat(api_key=stage.world.secret("b1"))


# --- without a loop -------------------------------------------------------------------------------------------------


@ends("settled")
async def chat_now(stage: Stage) -> None:
    await asyncio.to_thread(stage.chat_now)


@ends("settled")
async def embedding_now(stage: Stage) -> None:
    await asyncio.to_thread(stage.router.embedding, model="chat", input="the sea")


@ends("settled")
async def stream_now(stage: Stage) -> None:
    await asyncio.to_thread(lambda: [*stage.chat_now(stream=True)])


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
    await failing(asyncio.to_thread(stage.chat_now, timeout=0.3), litellm.Timeout)


EXACT = {"limits": [{"of": "requests", "amount": 500, "per": "minute", "window": "rolling"}]}
"""Nothing refills while a scenario plays, so that what is charged can be counted."""
NOT_UPSTREAM = {"mocked_answer": -1, "a_key_of_the_callers_own": 1}
"""Scenarios where the provider saw fewer or more requests than leases were kept."""


def models(world: World, url: str) -> list[Any]:
    return [
        deployment(world, url, "a1", **EXACT),
        deployment(world, url, "b1", **EXACT),
        deployment(world, url, "b1", id="spare", group="spare", **EXACT),
        deployment(world, url, "b1", id="slow", group="slow", model="openai/gpt-4o", **EXACT),
        deployment(world, url, "b1", id="claude", group="claude", model="anthropic/claude-haiku-4-5", **EXACT),
        deployment(world, url, "b1", id="narrow", group="narrow", params={"max_parallel_requests": 1}, **EXACT),
    ]


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_call_ends_with_its_lease(opened: Opener, name: str) -> None:
    scenario, outcomes, router = SCENARIOS[name]
    stage = await opened(models=models, **router)
    await scenario(stage)
    gc.collect()
    await stage.settled()
    assert stage.outcomes == outcomes
    kept = sum(outcome != "released" for outcome in outcomes)
    assert sum(stage.used(pool.id) for pool in stage.engine.get_state_summary().pools) == kept
    upstream = sum(one.counters.requests for one in stage.world.organisations.values())
    assert upstream == kept + NOT_UPSTREAM.get(name, 0)
