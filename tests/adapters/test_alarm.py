"""One deadline over many waits does what asyncio's own does for one."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from apikeyrouter.adapters.alarm import Alarm


def soon(seconds: float = 0.01) -> float:
    return asyncio.get_running_loop().time() + seconds


def timers() -> int:
    """Timers of the running loop that have not been taken back."""
    return sum(not timer.cancelled() for timer in asyncio.get_running_loop()._scheduled)  # type: ignore[attr-defined]


async def test_a_wait_past_the_deadline_times_out_and_the_task_goes_on() -> None:
    alarm = Alarm(soon())
    with pytest.raises(TimeoutError), alarm:
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_many_waits_share_one_timer() -> None:
    alarm, before = Alarm(soon(60)), timers()
    for _ in range(5):
        with alarm:
            await asyncio.sleep(0)
    assert timers() == before + 1
    alarm.off()
    assert timers() == before


async def test_after_the_deadline_only_waiting_is_over() -> None:
    alarm = Alarm(soon(-1))
    with alarm:
        had_without_waiting = True
    assert had_without_waiting
    with pytest.raises(TimeoutError), alarm:
        await asyncio.Event().wait()
    with pytest.raises(TimeoutError), alarm:
        await asyncio.Event().wait()


async def test_nobody_waits_when_it_rings() -> None:
    alarm = Alarm(soon())
    with alarm:
        await asyncio.sleep(0)
    await asyncio.sleep(0.03)
    with alarm:
        pass
    alarm.off()


@pytest.mark.parametrize("late", [False, True])
async def test_a_cancellation_from_elsewhere_stays_one(late: bool) -> None:
    waiting = asyncio.Event()
    alarm = Alarm(soon(60))

    async def wait() -> None:
        with alarm:
            waiting.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await waiting.wait()
    if late:  # both at once: whoever asked from outside must get what it asked for
        alarm.at = soon(-1)
        alarm.ring()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    alarm.off()


async def test_its_time_may_come_nearer() -> None:
    alarm = Alarm(soon(60))
    with alarm:
        await asyncio.sleep(0)
    alarm.set(soon())
    with pytest.raises(TimeoutError), alarm:
        await asyncio.Event().wait()


async def test_its_time_may_move_on_without_another_timer() -> None:
    alarm, before = Alarm(soon(0.02)), timers()
    for _ in range(4):
        alarm.set(soon(0.04))
        with alarm:
            await asyncio.sleep(0.02)
        assert timers() == before + 1
    alarm.set(soon(0.04))
    with pytest.raises(TimeoutError), alarm:
        await asyncio.Event().wait()


async def test_other_errors_pass() -> None:
    alarm = Alarm(soon(60))
    with pytest.raises(ValueError, match="own"), alarm:
        raise ValueError("own")
    alarm.off()


async def test_a_forgotten_alarm_is_gone_before_its_time() -> None:
    alarm = Alarm(soon(60))
    with alarm:
        await asyncio.sleep(0)
    gone = weakref.ref(alarm)
    del alarm
    gc.collect()
    assert gone() is None
