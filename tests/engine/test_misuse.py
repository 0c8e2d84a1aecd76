"""What a caller, a provider or a reload gets wrong must not undo a budget, leak a lease or stop a line."""

from __future__ import annotations

import asyncio
import copy
import pickle
from decimal import Decimal

import pytest

from apikeyrouter import (
    Answer,
    ApiKeyRouter,
    ApiKeyRouterError,
    BaseAdapter,
    Budget,
    Call,
    Capabilities,
    InvalidConfigurationError,
    InvalidRequestError,
    Limit,
    Price,
    PriceBook,
    Reading,
    Request,
    Usage,
)
from apikeyrouter.core.registry import MOST_COMPILED
from apikeyrouter.ports import Headers

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}


class Odd(BaseAdapter):
    """Answers what it was given, and breaks promises when asked to."""

    capabilities = Capabilities(operations=frozenset({"chat"}), features=frozenset({"streaming"}))

    def __init__(self, answer: object = None, *, limits_fail: bool = False) -> None:
        super().__init__()
        self.answer, self.limits_fail = answer, limits_fail

    async def send(self, call: Call) -> Answer:
        return self.answer  # type: ignore[return-value]  # that is the point

    def limits(self, headers: Headers) -> tuple[Reading, ...]:
        if self.limits_fail:
            raise KeyError("boom")
        return ()


def router(adapter: BaseAdapter | None = None, **options: object) -> ApiKeyRouter:
    prices = PriceBook()
    prices.override(None, "*", Price.of("m", input="1", output="1"))
    made = ApiKeyRouter(prices=prices, log=False, **options)  # type: ignore[arg-type]
    made.enrolment.add_provider("p", adapter or Odd())
    made.enrolment.add_key("sk-material-0001", "p", {"id": "k", "models": ["m", "invented-*"]})
    return made


LITTLE = {"input_tokens": 1, "max_output_tokens": 1}
ONE = [Limit.concurrency(1)]
ASK = {"model": "m", "input_tokens": 10, "max_output_tokens": 10}


@pytest.mark.parametrize(
    "usage",
    [
        Usage(input_tokens=float("nan")),  # type: ignore[arg-type]
        Usage(input_tokens=-(10**9)),
        Usage(output_tokens=True),
        Usage(output_tokens=1.5),  # type: ignore[arg-type]
        Usage(input_tokens=10**400),
        Usage(input_tokens=None),  # type: ignore[arg-type]
        Usage(cost_reported=Decimal("NaN")),
        Usage(cost_reported=Decimal("-5")),
        Usage(cost_reported="x"),  # type: ignore[arg-type]
        {"input_tokens": 1},
    ],
    ids=repr,
)
def test_a_usage_that_cannot_be_is_refused_and_undoes_no_budget(usage: Usage) -> None:
    budget = Budget(scope="global", limit="0.00003")
    made = router(budgets=[budget])
    lease = made.acquire(Request(**ASK))  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="usage"):
        made.settle(lease, usage)
    made.settle(lease, Usage(input_tokens=10, output_tokens=10))
    assert made.budget_status()[0].spent == Decimal("0.00002")
    assert made.get_state_summary().open_leases == 0


@pytest.mark.parametrize(
    "limit",
    [
        {"of": "requests", "amount": 2, "models": "gpt-4o-mini"},
        {"of": "requests", "amount": 10**400},
        {"of": "requests", "amount": 2, "burst_s": "x"},
        {"of": "requests", "amount": 2, "burst_s": True},
        {"of": [], "amount": 2},
    ],
    ids=str,
)
def test_a_limit_that_cannot_be_is_refused(limit: dict[str, object]) -> None:
    with pytest.raises(InvalidConfigurationError):
        Limit(**limit)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "adapter", [Odd(None), Odd(Answer(status=200, content="x"), limits_fail=True)], ids=["none", "limits"]
)
async def test_an_adapter_that_breaks_its_promises_keeps_no_lease(adapter: Odd) -> None:
    made = router(adapter)
    with pytest.raises((AttributeError, KeyError)):
        await made.route(CHAT)
    assert made.get_state_summary().open_leases == 0


async def test_a_stream_is_read_by_one_task_at_a_time() -> None:
    made = router()
    made.enrolment.add_key("sk-material-0002", "p", {"id": "one", "models": ["one"], "limits": [Limit.concurrency(1)]})
    held = made.acquire(Request(model="one", **LITTLE))
    stream = made.stream({**CHAT, "model": "one"}, timeout=20)
    first = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    with pytest.raises(ApiKeyRouterError, match="one task"):
        await anext(stream)
    await stream.aclose()
    made.release(held)
    with pytest.raises(StopAsyncIteration):
        await first
    assert made.get_state_summary().open_leases == 0


async def test_a_provider_that_leaves_stops_no_line() -> None:
    made = router()
    made.enrolment.add_provider("q", Odd())
    for name, provider in (("kp", "p"), ("kq", "q")):
        made.enrolment.add_key(
            f"sk-material-{name}00", provider, {"id": name, "models": [name], "limits": [Limit.concurrency(1)]}
        )
    held = [made.acquire(Request(model=n, **LITTLE)) for n in ("kp", "kq")]
    waiting = [
        asyncio.create_task(made.acquire_when_free(Request(model=n, provider=p, **LITTLE), timeout=20))
        for n, p in (("kq", "q"), ("kp", "p"))
    ]
    await asyncio.sleep(0)
    made.enrolment.router.registry.providers.pop("q")
    made.enrolment.router.registry.changed()
    for lease in held:
        made.release(lease)
    with pytest.raises(ApiKeyRouterError):
        await asyncio.wait_for(waiting[0], 5)
    made.release(await asyncio.wait_for(waiting[1], 5))


def test_decisions_do_not_keep_what_was_compiled_alive() -> None:
    made = router()
    for i in range(200):
        made.enrolment.add_key(f"sk-many-{i:08}", "p", {"id": f"many-{i}", "models": ["invented-*"]})
    for i in range(50):
        made.release(made.acquire(Request(model=f"invented-{i}", **LITTLE)))
        if i % 10 == 9:
            made.enrolment.router.registry.changed()
    kept = {id(d.roster): len(d.roster.candidates) for d in made.enrolment.router.decisions.values()}
    assert sum(kept.values()) <= 64 * len(kept)
    assert all(str(d) for d in made.enrolment.router.decisions.values())
    assert made.enrolment.router.registry.compiled <= MOST_COMPILED


def test_a_pool_named_twice_is_charged_once() -> None:
    made = router()
    options = {"id": "t", "models": ["t"], "pool": ["x", "x"], "limits": [Limit.rpm(10)]}
    made.enrolment.add_key("sk-material-0003", "p", options)
    made.acquire(Request(model="t", **LITTLE))
    assert round(made.quota("x")[0].windows[0].remaining) == 9


def test_a_lease_of_another_router_is_refused_and_stays_open() -> None:
    lease, other = router().acquire(Request(**ASK)), router()  # type: ignore[arg-type]
    for end in (other.settle, other.release, lambda given: other.fail(given, 500)):
        with pytest.raises(InvalidRequestError, match="another router"):
            end(lease)
    assert lease.open


async def test_what_is_no_name_no_lease_and_no_failure_is_one_sentence() -> None:
    made = router()
    lease = made.acquire(Request(**ASK))  # type: ignore[arg-type]
    for wrong in (None, [], 5, b"k"):
        for verb in (made.get_key, made.explain, made.settle, made.release):
            with pytest.raises(ApiKeyRouterError):
                verb(wrong)  # type: ignore[arg-type, operator]
        with pytest.raises(InvalidConfigurationError):
            await made.register_provider(wrong, Odd())  # type: ignore[arg-type]
        with pytest.raises(ApiKeyRouterError):
            await made.revoke_key(wrong)  # type: ignore[arg-type]
        if not isinstance(wrong, int):
            with pytest.raises(InvalidRequestError):
                made.fail(lease, wrong)  # type: ignore[arg-type]
    assert lease.open


def test_values_that_travel_can_be_copied() -> None:
    for value in (Request(model="m", tags={"a": "b"}), Request(model="m"), Budget(scope="global", limit="1")):
        assert pickle.loads(pickle.dumps(value)) == value
        assert copy.deepcopy(value) == value
    with pytest.raises(TypeError, match="immutable"):
        Request(model="m").tags["a"] = "b"  # type: ignore[index]
