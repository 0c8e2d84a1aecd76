"""Every way a LiteLLM call can end, and that its lease ends with it: once, rightly, and nothing stays open."""

from __future__ import annotations

import asyncio
from typing import Any

import litellm
import pytest
from litellm_endings import UNANSWERED, Endings, failing, hang, overdue
from litellm_stage import HELLO, Opener, Stage, until

from apikeyrouter.simulator import Fault

matrix = Endings()
ends = matrix.ends


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


@ends("settled", beyond=-1)
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
    await failing(stage.chat(timeout=UNANSWERED), litellm.Timeout)


@ends("timeout", "timeout", num_retries=1)
async def timed_out_twice(stage: Stage) -> None:
    hang(stage)
    await failing(stage.chat(timeout=UNANSWERED), litellm.Timeout)


@ends("network")
async def dropped(stage: Stage) -> None:
    stage.world.faults.add(Fault(kind="drop"))
    await failing(stage.chat())


@ends("invalid", beyond=-1)
async def an_image_nobody_makes(stage: Stage) -> None:
    await failing(stage.router.aimage_generation(model="chat", prompt="the sea"))


@ends("invalid", beyond=-1)
async def speech_nobody_speaks(stage: Stage) -> None:
    await failing(stage.router.aspeech(model="chat", input="the sea", voice="alloy"))


# --- calls that nobody waits for any more ---------------------------------------------------------------------------


@ends("abandoned")
async def cancelled(stage: Stage) -> None:
    hang(stage)
    task = asyncio.ensure_future(stage.chat())
    await stage.arrived()
    task.cancel()
    await failing(task, asyncio.CancelledError)
    del task


@ends("abandoned")
async def waited_for_too_long(stage: Stage) -> None:
    hang(stage)
    await failing(overdue(stage, stage.chat()), TimeoutError)


@ends("abandoned", num_retries=3)
async def cancelled_with_retries(stage: Stage) -> None:
    hang(stage)
    await failing(overdue(stage, stage.chat()), TimeoutError)


@ends("abandoned")
async def cancelled_with_metadata_that_lives_on(stage: Stage) -> None:
    hang(stage)
    stage.extra["metadata"] = {"tags": ["kept"]}
    await failing(overdue(stage, stage.chat(metadata=stage.extra["metadata"])), TimeoutError)


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
async def text_stream_broken_off(stage: Stage) -> None:
    async for _ in await stage.router.atext_completion(model="chat", prompt="The sea", max_tokens=16, stream=True):
        break


@ends("abandoned")
async def messages_stream_broken_off(stage: Stage) -> None:
    async for _ in await stage.router.aanthropic_messages(model="chat", messages=HELLO, max_tokens=16, stream=True):
        break


@ends("abandoned")
async def embedding_cancelled(stage: Stage) -> None:
    hang(stage)
    await failing(overdue(stage, stage.router.aembedding(model="chat", input="the sea")), TimeoutError)


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


@ends("settled", "released", optional_pre_call_checks=["enforce_model_rate_limits"])
async def one_more_than_litellm_counts(stage: Stage) -> None:
    await stage.chat(model="strict")
    await failing(stage.chat(model="strict"), litellm.RateLimitError)


@ends("released")
async def picked_and_never_sent(stage: Stage) -> None:
    """What prompt management and the Proxy's probes do: they look which deployment it would be."""
    asked: dict[str, Any] = {}
    await stage.router.async_get_available_deployment(model="chat", messages=HELLO, request_kwargs=asked)


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


@ends(beyond=1)
async def a_key_of_the_callers_own(stage: Stage) -> None:
    await stage.chat(api_key=stage.world.secret("b1"))


@pytest.mark.parametrize("name", matrix.known)
async def test_a_call_ends_with_its_lease(opened: Opener, name: str) -> None:
    await matrix.play(opened, name)
