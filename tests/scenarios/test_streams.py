"""Streams: replaced unseen until the answer begins, told honestly afterwards, settled however they end."""

from __future__ import annotations

import asyncio
import gc
from decimal import Decimal

import pytest
from stage import MODEL, Opener, Stage, chat, until

from apikeyrouter import (
    InvalidRequestError,
    PartialStreamError,
    ProviderTimeoutError,
    ServiceUnavailableError,
)
from apikeyrouter.events import Failed, Settled
from apikeyrouter.simulator import Fault, Latency, Organisation, WorldSpec, limits
from apikeyrouter.testing import ManualClock

WORLD = (
    Organisation(id="org-a", keys=("a1",), limits=limits(rpm=600, tpm=400_000)),
    Organisation(id="org-b", keys=("b1",), limits=limits(rpm=600, tpm=400_000)),
)
BUDGET = {"daily": {"scope": "global", "limit": "10", "period": "day", "mode": "hard"}}


async def text_of(stage: Stage, **options: object) -> str:
    return "".join([chunk.text async for chunk in stage.router.stream(chat("Go on", output=24), **options)])  # type: ignore[arg-type]


async def read_into(got: list[str], stage: Stage) -> None:
    async for chunk in stage.router.stream(chat("Go on", output=24)):
        got += [chunk.text]


def spent(stage: Stage) -> Decimal:
    (status,) = stage.router.budget_status("global")
    assert status.held == 0
    return status.spent


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="error", times=1),
        Fault(kind="error", times=1, error="overloaded"),
        Fault(kind="drop", times=1, after=0),
        Fault(kind="empty_stream", times=1),
        Fault(kind="stream_error", times=1, after=1),
        Fault(kind="drop", times=1, after=1),
        Fault(kind="malformed", times=1, after=1),
    ],
    ids=["500", "503", "dropped at once", "empty", "error after the role", "dropped after the role", "half an event"],
)
async def test_a_stream_that_breaks_before_its_answer_is_replaced_unseen(opened: Opener, fault: Fault) -> None:
    stage = await opened(WORLD)
    stage.world.faults.add(fault)
    stream = stage.router.stream(chat("Go on", output=24))
    chunks = [chunk async for chunk in stream]
    assert len("".join(chunk.text for chunk in chunks)) == 4 * 24
    assert fault.hits == 1
    assert stage.count() == 2
    assert stream.metadata is not None
    assert stream.metadata.attempts == 2
    roles = [c for c in chunks if c.data["choices"][0].get("delta", {}).get("role")]  # type: ignore[index]
    assert len(roles) == 1  # nothing of the first attempt was handed on
    assert stream.usage is not None
    assert stream.usage.output_tokens == 24


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="stream_error", times=1, after=3),
        Fault(kind="drop", times=1, after=3),
        Fault(kind="malformed", times=1, after=3),
    ],
    ids=lambda fault: fault.kind,
)
async def test_a_break_after_content_is_told_with_the_text_so_far(opened: Opener, fault: Fault) -> None:
    stage = await opened(WORLD, budgets=BUDGET)
    stage.world.faults.add(fault)
    got: list[str] = []
    with pytest.raises(PartialStreamError) as broken:
        await read_into(got, stage)
    assert broken.value.text == "".join(got)
    assert len(broken.value.text) == 4 * 16  # two pieces of eight tokens after the role
    assert stage.count() == 1  # never sent again: the caller has seen some of it
    assert "64 characters" in str(broken.value)
    assert len(stage.of(Failed)) == 1
    assert spent(stage) > 0  # it may have been billed, so the estimate stands


async def test_every_stream_empty_is_a_failure_that_says_so(opened: Opener) -> None:
    stage = await opened(WORLD)
    stage.world.faults.add(Fault(kind="empty_stream"))
    with pytest.raises(ServiceUnavailableError, match=r"empty.*attempts"):
        await text_of(stage)
    assert stage.count() == 3


async def test_an_empty_answer_is_an_answer(opened: Opener) -> None:
    stage = await opened(WORLD)
    stream = stage.router.stream(chat(output=0))
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.text for chunk in chunks) == ""
    assert stage.count() == 1


async def test_the_request_s_own_fault_is_not_tried_again(opened: Opener) -> None:
    stage = await opened(WORLD)
    stage.world.faults.fail_next(5, error="content_filter")
    with pytest.raises(InvalidRequestError):
        await text_of(stage)
    assert stage.count() == 1


async def test_breaking_off_settles_at_once_when_closed(opened: Opener) -> None:
    stage = await opened(WORLD, budgets=BUDGET)
    stream = stage.router.stream(chat("Go on", output=24, max_tokens=100))
    async for chunk in stream:
        if chunk.text:
            break
    assert stage.router.get_state_summary().open_leases == 1
    await stream.aclose()
    assert stage.router.get_state_summary().open_leases == 0
    (settled,) = stage.of(Settled)
    assert settled.output_tokens == 0  # usage had not come
    assert spent(stage) >= Decimal("0.00006")  # 100 tokens at 0.60 a million: the estimate stands
    await stream.aclose()
    assert [chunk async for chunk in stream] == []


async def test_with_leaves_nothing_open(opened: Opener) -> None:
    stage = await opened(WORLD)
    async with stage.router.stream(chat("Go on", output=24)) as stream:
        async for _ in stream:
            break
    assert stage.router.get_state_summary().open_leases == 0


async def test_a_stream_that_is_forgotten_is_settled_when_it_is_collected(opened: Opener) -> None:
    stage = await opened(WORLD, budgets=BUDGET)

    async def read_one() -> None:
        async for chunk in stage.router.stream(chat("Go on", output=24)):
            if chunk.text:
                break

    await read_one()
    gc.collect()
    assert stage.router.get_state_summary().open_leases == 0
    assert stage.decisions()[-1].outcome == "abandoned"
    assert spent(stage) > 0


async def test_a_stream_that_was_never_read_costs_nothing(opened: Opener) -> None:
    stage = await opened(WORLD, budgets=BUDGET)
    stream = stage.router.stream(chat())
    await stream.aclose()
    del stream
    assert (stage.count(), spent(stage)) == (0, Decimal(0))


async def test_the_provider_sees_that_the_caller_left(opened: Opener) -> None:
    clock = ManualClock()
    world = WorldSpec(organisations=WORLD, latency=Latency(per_token_s=0.1))
    stage = await opened(world, clock=clock)
    stream = stage.router.stream(chat("Go on", output=400, max_tokens=400))

    async def first_text() -> None:
        async for chunk in stream:
            if chunk.text:
                return

    await stage.while_time_passes(first_text(), step=0.1)
    await stream.aclose()

    def is_noticed() -> bool:
        clock.advance(0.1)
        return bool(stage.world.record.all())

    await until(is_noticed)
    (seen,) = stage.world.record.all()
    assert seen.left
    assert seen.output_tokens < 400


async def test_cancelling_while_the_provider_is_silent_settles_and_blames_nobody(opened: Opener) -> None:
    stage = await opened(WORLD, budgets=BUDGET)
    stage.world.faults.add(Fault(kind="hang"))
    task = asyncio.ensure_future(text_of(stage))
    await until(lambda: bool(stage.in_flight))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stage.router.get_state_summary().open_leases == 0
    (failed,) = stage.of(Failed)
    assert (failed.kind, failed.blame) == ("cancelled", "caller")
    assert not stage.of(Settled)  # a provider that said nothing was not a success
    assert spent(stage) > 0


async def test_cancelling_in_the_middle_settles(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened(WorldSpec(organisations=WORLD, latency=Latency(per_token_s=0.1)), clock=clock, budgets=BUDGET)
    heard = asyncio.Event()

    async def listen() -> None:
        async for chunk in stage.router.stream(chat("Go on", output=400, max_tokens=400)):
            if chunk.text:
                heard.set()

    task = asyncio.ensure_future(listen())
    await stage.while_time_passes(heard.wait(), step=0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stage.router.get_state_summary().open_leases == 0
    assert spent(stage) > 0


async def test_a_stream_that_stops_talking_meets_its_deadline(opened: Opener) -> None:
    stage = await opened(WORLD)
    stage.world.faults.add(Fault(kind="slow_body", seconds=30))
    with pytest.raises(ProviderTimeoutError):
        await text_of(stage, timeout=0.15)
    assert stage.router.get_state_summary().open_leases == 0


async def test_a_stream_that_goes_on_outlasts_the_timeout_and_its_lease_does_too(opened: Opener) -> None:
    clock = ManualClock()
    stage = await opened(WorldSpec(organisations=WORLD, latency=Latency(per_token_s=1.0)), clock=clock, budgets=BUDGET)
    got: list[str] = []

    async def listen() -> None:
        async for chunk in stage.router.stream(chat("Go on", output=120, max_tokens=400), timeout=10):
            got.append(chunk.text)
            stage.router.get_state_summary()  # which expires what is due

    await stage.while_time_passes(listen(), step=1.0)
    assert len("".join(got)) >= 4 * 120
    (settled,) = stage.of(Settled)
    assert settled.output_tokens == 120


async def test_quota_headers_of_a_stream_are_believed(opened: Opener) -> None:
    clock = ManualClock()
    world = (Organisation(id="org-a", keys=("a1",), limits=limits(rpm=600, tpm=4_000, start=0.5)),)
    stage = await opened(world, clock=clock)
    async with stage.router.stream(chat("Go on", output=24)) as stream:
        async for _ in stream:
            break
    (pool,) = stage.router.get_state_summary().pools
    tokens = next(w for w in pool.windows if w.name == "tokens/minute")
    (theirs,) = [r for r in stage.world.quota("org-a", MODEL) if r.name == "tpm"]
    assert tokens.remaining == pytest.approx(theirs.remaining, abs=60)
