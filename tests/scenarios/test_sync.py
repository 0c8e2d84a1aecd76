"""Callers without a loop, with several loops, in several threads, after a fork: one engine, one truth."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest
from stage import Stage as Scene
from stage import assert_at_rest, chat, described, from_file

from apikeyrouter import ApiKeyRouterError, InvalidRequestError, PartialStreamError, Request, Usage
from apikeyrouter.simulator import Fault, Organisation, World, limits, serve

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
WORLD = (
    Organisation(id="org-a", keys=("a1", "a2"), limits=limits(rpm=6000, tpm=4_000_000)),
    Organisation(id="org-b", keys=("b1",), limits=limits(rpm=6000, tpm=4_000_000)),
)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A simulator in a thread of its own, and a router for callers without a loop."""
    world = World(WORLD)
    with serve(world) as url:
        router = from_file(described(world, url), tmp_path, clock=None)
        scene = Scene(world, url, router, None)
        yield scene
        assert_at_rest(scene)
        router.sync.close()
    gc.collect()  # a socket left open would be told here


def assert_seen(scene: Scene, count: int, **which: str) -> None:
    """The simulator in its thread writes a request down just after it has answered it."""
    for _ in range(1000):
        if not scene.in_flight and scene.count(**which) >= count:
            break
        threading.Event().wait(0.002)
    assert scene.count(**which) == count


def test_route_without_a_loop(scene: Scene) -> None:
    reply = scene.router.sync.route(chat(output=8))
    assert reply.usage is not None
    assert reply.usage.output_tokens == 8
    assert str(scene.router.explain(reply.metadata.decision_id))
    assert_seen(scene, 1)


def test_stream_without_a_loop(scene: Scene) -> None:
    text = "".join(chunk.text for chunk in scene.router.sync.stream(chat(output=24)))
    assert len(text) == 4 * 24
    assert_seen(scene, 1)


def test_breaking_off_a_stream_settles_it(scene: Scene) -> None:
    stream = scene.router.sync.stream(chat(output=24))
    assert next(stream).data
    assert scene.router.get_state_summary().open_leases == 1
    stream.close()
    assert scene.router.get_state_summary().open_leases == 0


def test_a_stream_forgotten_is_settled(scene: Scene) -> None:
    for chunk in scene.router.sync.stream(chat(output=24)):
        assert chunk.data
        break
    gc.collect()
    assert scene.router.get_state_summary().open_leases == 0


def test_errors_are_the_same(scene: Scene) -> None:
    with pytest.raises(InvalidRequestError, match="messages"):
        scene.router.sync.route({"model": "gpt-4o-mini"})
    with pytest.raises(InvalidRequestError, match="messages"):
        list(scene.router.sync.stream({"model": "gpt-4o-mini"}))
    scene.world.faults.add(Fault(kind="drop", after=3, times=1))
    with pytest.raises(PartialStreamError) as broken:
        list(scene.router.sync.stream(chat(output=24)))
    assert len(broken.value.text) == 4 * 16


def test_acquire_and_settle_need_no_loop(scene: Scene) -> None:
    lease = scene.router.acquire(Request(model="gpt-4o-mini", input_tokens=10, max_output_tokens=10))
    scene.router.settle(lease, Usage(input_tokens=10, output_tokens=5))
    assert scene.router.get_state_summary().open_leases == 0


def test_inside_a_loop_it_refuses_and_says_what_to_write(scene: Scene) -> None:
    async def inside() -> None:
        with pytest.raises(ApiKeyRouterError, match=r"await router"):
            scene.router.sync.route(chat())
        with pytest.raises(ApiKeyRouterError, match=r"await router|async for"):
            scene.router.sync.stream(chat())
        lease = scene.router.acquire(Request(model="gpt-4o-mini", input_tokens=10, max_output_tokens=10))
        scene.router.release(lease)  # these never block, so they are legal anywhere

    asyncio.run(inside())
    assert_seen(scene, 0)


def test_from_many_threads(scene: Scene) -> None:
    barrier = threading.Barrier(8)

    def ask(number: int) -> str:
        barrier.wait()
        return scene.router.sync.route(chat(f"Question {number}")).metadata.decision_id

    with ThreadPoolExecutor(8) as threads:
        ids = set(threads.map(ask, range(8)))
    assert len(ids) == 8
    assert_seen(scene, 8, outcome="admitted")
    assert sum(key.usage_count for key in scene.router.get_state_summary().keys) == 8


def test_one_loop_after_another(scene: Scene) -> None:
    for _ in range(4):
        reply = asyncio.run(scene.router.route(chat()))
        assert reply.content
    gc.collect()  # no connection of a loop that has ended is left open
    assert_seen(scene, 4, outcome="admitted")


def test_several_loops_at_once(scene: Scene) -> None:
    async def several() -> int:
        return len(await asyncio.gather(*(scene.router.route(chat()) for _ in range(5))))

    with ThreadPoolExecutor(4) as threads:
        done = [threads.submit(asyncio.run, several()) for _ in range(4)]
        assert [each.result(10) for each in done] == [5] * 4
    assert_seen(scene, 20, outcome="admitted")


def test_who_waits_in_one_thread_is_woken_by_another(tmp_path: Path) -> None:
    world = World([Organisation(id="org-a", keys=("a1",), max_in_flight=1)])
    with serve(world) as url:
        config = described(world, url)
        config["pools"]["org-a"]["limits"] = {"concurrency": 1}
        router = from_file(config, tmp_path, clock=None)
        lease = router.acquire(Request(model="gpt-4o-mini"))
        with ThreadPoolExecutor(1) as threads:
            asked = threads.submit(router.sync.route, chat())
            while not _waiters(router):
                threading.Event().wait(0.002)
            router.release(lease)
            assert asked.result(10).content
        router.sync.close()


def _waiters(router: object) -> int:
    dispatcher = getattr(router, "_dispatcher", None)
    return 0 if dispatcher is None else sum(room.line.size for room in dispatcher.rooms.rooms.values())


def test_budgets_hold_across_threads(tmp_path: Path) -> None:
    world = World(WORLD)
    with serve(world) as url:
        config = described(world, url)
        config["budgets"] = {"all": {"scope": "global", "limit": "0.35"}}
        router = from_file(config, tmp_path, clock=None)

        def ask(_: int) -> bool:
            try:
                router.sync.route(chat(model="gpt-4o", max_tokens=10_000, output=10_000))
            except ApiKeyRouterError:
                return False
            return True

        with ThreadPoolExecutor(8) as threads:
            served = sum(threads.map(ask, range(24)))
        (budget,) = router.budget_status("global")
        assert served == 3
        assert_seen(Scene(world, url, router, None), 3)
        assert Decimal("0.3") < budget.spent <= Decimal("0.35")
        assert budget.held == 0
        router.sync.close()


def test_closing_twice_and_going_on(scene: Scene) -> None:
    scene.router.sync.route(chat())
    scene.router.sync.close()
    scene.router.sync.close()
    assert scene.router.sync.route(chat()).content  # a router that was closed opens connections again


def test_an_interrupted_caller_leaves_no_request_running(scene: Scene) -> None:
    hang = scene.world.faults.add(Fault(kind="hang"))

    def interrupt() -> None:
        while not hang.hits:
            threading.Event().wait(0.002)
        os.kill(os.getpid(), signal.SIGINT)

    with ThreadPoolExecutor(1) as threads:
        threads.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            scene.router.sync.route(chat())
    while scene.router.get_state_summary().open_leases:
        threading.Event().wait(0.002)
    assert scene.decisions()[-1].outcome == "cancelled"


def test_a_lock_held_at_the_fork_is_free_in_the_child(scene: Scene) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with scene.router._router.lock:
            held.set()
            done.wait(10)

    with ThreadPoolExecutor(1) as threads:
        threads.submit(hold)
        held.wait(5)
        try:
            assert in_a_child(lambda: scene.router.preview(Request(model="gpt-4o-mini")).key is not None)
        finally:
            done.set()


def in_a_child(work: Callable[[], object]) -> bool:
    """Whether `work` comes to something true in a forked process, within five seconds."""
    child = os.fork()
    if child == 0:
        signal.alarm(5)
        try:
            os._exit(0 if work() else 3)
        except BaseException:  # noqa: BLE001  (a child must never run the rest of the tests)
            os._exit(4)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def test_a_forked_child_has_a_thread_of_its_own(scene: Scene) -> None:
    scene.router.sync.route(chat())  # the thread runs before the fork
    assert in_a_child(lambda: scene.router.sync.route(chat("From the child"), timeout=5).content)
    assert scene.router.sync.route(chat()).content
    assert_seen(scene, 3, outcome="admitted")
