"""No room now: a call waits for it as long as it may, and is told when to come back as soon as that cannot suffice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import litellm
import pytest
from litellm_stage import HELLO, PATIENCE_S, Hurried, Opener, Stage, deployment, until

from apikeyrouter import ApiKeyRouter, Budget, Settings
from apikeyrouter.testing import ManualClock


async def narrow(opened: Opener, *, rpm: int = 1, max_wait: float = 60.0, **router: Any) -> Stage:
    """One key with room for `rpm` calls a minute, of which one is gone."""
    stage = await opened(
        models=lambda world, url: [
            deployment(world, url, "a1", rpm=rpm),
            deployment(world, url, "b1", id="spare", group="spare", rpm=600),
        ],
        max_wait=max_wait,
        **router,
    )
    await stage.chat()
    return stage


async def at_once(call: Callable[..., Any], **given: Any) -> Any:
    """Called where the loop runs, which stands still meanwhile."""
    return call(**given)


async def at_once_or_never(call: Awaitable[Any]) -> Any:
    """The outcome of a call for which no time may pass: whoever waits while the clock stands waits for ever."""
    return await asyncio.wait_for(call, PATIENCE_S)


async def test_more_calls_than_room_are_served_in_time(opened: Opener) -> None:
    engine = ApiKeyRouter(clock=Hurried())
    stage = await opened(config=engine, models=lambda world, url: [deployment(world, url, "a1", rps=4)])
    answers = await asyncio.gather(*(stage.chat() for _ in range(16)))
    waits = [answer._hidden_params["apikeyrouter"]["waited_s"] for answer in answers]
    assert sum(wait > 0 for wait in waits) >= 6
    assert max(waits) < 6
    assert stage.seen("throttled") == 0


async def test_a_wait_that_cannot_suffice_is_refused_at_once(opened: Opener) -> None:
    clock = ManualClock()
    stage = await narrow(opened, config=ApiKeyRouter(clock=clock), num_retries=3)
    clock.advance(5.0)
    with pytest.raises(litellm.RateLimitError) as caught:
        await at_once_or_never(stage.chat(timeout=5))
    assert 50 <= int(caught.value.headers["retry-after"]) <= 60  # type: ignore[attr-defined]
    assert caught.value.status_code == 429
    refused = [d for d in stage.engine._router.decisions.values() if d.chosen is None]
    assert len(refused) == 1, "LiteLLM's retries would only ask again"


async def test_the_refusal_explains_itself(opened: Opener) -> None:
    stage = await narrow(opened, max_wait=0.0)
    with pytest.raises(
        litellm.RateLimitError, match=r"without room; try again in \d+\.\d s .*a1.*requests/minute"
    ) as caught:
        await stage.chat()
    decision = caught.value.headers["x-apikeyrouter-decision"]  # type: ignore[attr-defined]
    assert "no key for chat" in str(stage.engine.explain(decision))


async def test_a_call_may_decline_to_wait(opened: Opener) -> None:
    clock = ManualClock()
    engine = ApiKeyRouter(clock=clock)
    stage = await opened(config=engine, models=lambda world, url: [deployment(world, url, "a1", rps=1)])
    await stage.chat()
    with pytest.raises(litellm.RateLimitError):
        await at_once_or_never(stage.chat(metadata={"apikeyrouter": {"max_wait": 0}}))
    clock.advance(1.0)
    await at_once_or_never(stage.chat())


async def test_fallbacks_take_over_when_waiting_does_not_help(opened: Opener) -> None:
    stage = await narrow(opened, max_wait=0.0, fallbacks=[{"chat": ["spare"]}])
    answer = await stage.chat()
    assert answer._hidden_params["apikeyrouter"]["key"] == "spare"


async def test_who_gives_up_waiting_takes_nothing(opened: Opener) -> None:
    engine = ApiKeyRouter(clock=ManualClock())
    stage = await opened(config=engine, models=lambda world, url: [deployment(world, url, "a1", rps=1)])
    await stage.chat()
    waiting = asyncio.ensure_future(stage.chat())
    await until(lambda: stage.in_line == 1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(waiting, 0.01)
    await stage.settled()
    assert stage.outcomes == ["settled"]


async def test_a_thread_waits_too(opened: Opener) -> None:
    stage = await opened(models=lambda world, url: [deployment(world, url, "a1", rps=2)])
    await asyncio.gather(*(asyncio.to_thread(stage.chat_now) for _ in range(4)))
    await stage.settled()
    assert stage.outcomes == ["settled"] * 4
    assert stage.seen("throttled") == 0


async def test_a_thread_is_woken_by_a_place_that_gets_free(opened: Opener) -> None:
    stage = await opened(models=lambda world, url: [deployment(world, url, "a1", concurrency=1)])
    stream = await stage.chat(stream=True)
    thread = asyncio.ensure_future(asyncio.to_thread(stage.chat_now, timeout=30))
    async for _ in stream:
        assert not thread.done()
    await asyncio.wait_for(thread, 20)
    await stage.settled()
    assert stage.outcomes == ["settled", "settled"]


async def test_a_call_that_blocks_a_running_loop_waits_and_is_served(opened: Opener) -> None:
    engine = ApiKeyRouter(clock=Hurried())
    stage = await opened(config=engine, models=lambda world, url: [deployment(world, url, "a1", rps=2)])
    for _ in range(4):
        stage.chat_now()
    waits = [d.waited_s for d in stage.engine._router.decisions.values() if d.chosen is not None]
    assert stage.seen("throttled") == 0
    assert len(waits) == 4
    assert 0 < max(waits) < 5


@pytest.mark.parametrize("called", [asyncio.to_thread, at_once], ids=["in a thread", "in the running loop"])
async def test_without_a_loop_nobody_waits_longer_than_the_calls_timeout(
    opened: Opener, called: Callable[..., Awaitable[Any]]
) -> None:
    stage = await opened(models=lambda world, url: [deployment(world, url, "a1", concurrency=1)])
    held: dict[str, Any] = {}
    await stage.router.async_get_available_deployment(model="chat", messages=HELLO, request_kwargs=held)
    began = time.monotonic()
    with pytest.raises(litellm.RateLimitError):
        await called(stage.chat_now, timeout=1.5)
    assert time.monotonic() - began < 6
    held.clear()


@pytest.mark.parametrize("limit", [{"timeout": 0.7}, {"stream_timeout": 0.7}, {"timeout": httpx.Timeout(0.7)}])
async def test_a_stream_waits_no_longer_than_its_caller_would(opened: Opener, limit: dict[str, Any]) -> None:
    stage = await narrow(opened, config=ApiKeyRouter(clock=ManualClock()), max_wait=600.0)
    with pytest.raises(litellm.RateLimitError):
        await at_once_or_never(stage.chat(stream=True, **limit))


@pytest.mark.parametrize("where", ["the deployment", "the Router", "the Router, for every attempt"])
async def test_a_stream_waits_no_longer_than_its_deployment_or_router_would(opened: Opener, where: str) -> None:
    params = {"stream_timeout": 0.7} if where == "the deployment" else {}
    options = {} if where == "the deployment" else {"stream_timeout": 0.7}
    stage = await opened(
        models=lambda world, url: [deployment(world, url, "a1", rpm=1, params=params)],
        config=ApiKeyRouter(clock=ManualClock()),
        max_wait=600.0,
        **(options if where == "the Router" else {}),
    )
    if where == "the Router, for every attempt":
        stage.router.request_timeout = 0.7
        stage.strategy.attach(stage.router)
    await stage.chat()
    with pytest.raises(litellm.RateLimitError):
        await at_once_or_never(stage.chat(stream=True))


async def test_a_thread_is_refused_at_once_where_waiting_does_not_help(opened: Opener) -> None:
    stage = await narrow(opened)
    with pytest.raises(litellm.RateLimitError):
        await asyncio.to_thread(stage.chat_now, timeout=5)


async def test_a_place_that_gets_free_is_given_to_who_waits(opened: Opener) -> None:
    stage = await opened(models=lambda world, url: [deployment(world, url, "a1", concurrency=1)])
    stream = await stage.chat(stream=True)
    waiting = asyncio.ensure_future(stage.chat())
    await until(lambda: stage.engine.get_state_summary().open_leases == 1)
    async for _ in stream:
        assert not waiting.done()
    await waiting
    assert stage.outcomes == ["settled", "settled"]


async def test_without_money_the_answer_is_429_and_names_the_budget(opened: Opener) -> None:
    engine = ApiKeyRouter(budgets=[Budget(scope="tenant:acme", limit="0.000001", mode="hard")])
    stage = await opened(config=engine)
    with pytest.raises(litellm.RateLimitError, match="budget tenant:acme has"):
        await stage.chat(metadata={"apikeyrouter": {"tenant": "acme"}})
    await stage.chat(metadata={"apikeyrouter": {"tenant": "other"}})


async def test_with_every_key_dead_the_answer_is_503(opened: Opener) -> None:
    stage = await opened(num_retries=2)
    stage.world.revoke("a1")
    stage.world.revoke("b1")
    with pytest.raises((litellm.AuthenticationError, litellm.ServiceUnavailableError)):
        await stage.chat()
    with pytest.raises(litellm.ServiceUnavailableError, match="a1 is invalid"):
        await stage.chat()
    await stage.quiet()
    assert stage.seen() == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_under_a_hard_budget_no_answer_is_longer_than_what_is_held(opened: Opener, stream: bool) -> None:
    budget = Budget(scope="global", limit="1", mode="hard")
    engine = ApiKeyRouter(budgets=[budget], settings=Settings(default_max_output=20))
    stage = await opened(config=engine)
    call = {"model": "chat", "messages": HELLO, "extra_headers": {"x-sim-output-tokens": "400"}, "stream": stream}
    answer = await stage.router.acompletion(**call)
    if stream:
        async for _ in answer:
            pass
    await stage.settled()
    await until(lambda: bool(stage.world.record.all()))
    (seen,) = stage.world.record.all()
    assert seen.output_tokens == 20
    (row,) = stage.engine.reconciliation()
    assert row.overrun == 0


async def test_a_budget_written_at_the_deployment_holds(opened: Opener) -> None:
    stage = await opened(
        models=lambda world, url: [
            deployment(world, url, "a1", rpm=600, price={"request": 1}, budget={"usd": 3, "per": "day"})
        ]
    )
    answers = await asyncio.gather(*(stage.chat() for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(answer, litellm.RateLimitError) for answer in answers) == 5
    await stage.quiet()
    await until(lambda: stage.seen() >= 3)
    assert stage.seen() == 3
    assert [str(status.spent) for status in stage.engine.budget_status()] == ["3"]


async def test_embeddings_wait_as_well(opened: Opener) -> None:
    stage = await opened(models=lambda world, url: [deployment(world, url, "a1", rps=2)])
    calls = [stage.router.aembedding(model="chat", input="the sea") for _ in range(3)]
    calls.append(stage.router.aresponses(model="chat", input=HELLO[0]["content"], max_output_tokens=9))
    await asyncio.gather(*calls)
    assert stage.seen("throttled") == 0
