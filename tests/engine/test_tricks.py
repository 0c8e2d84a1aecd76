"""Bodies a caller may think of to spend more than is held, against a provider that bills the most it may.

The provider here is an opponent: it bills a token for every byte of text it was sent, the most any rule allows for what
is no text, and every answer to its very bound. What it is sent is what the router sends; what it bills must have been
held.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from spiteful import PICTURE, Spiteful, book, said

from apikeyrouter import (
    ApiKeyRouter,
    ApiKeyRouterError,
    BudgetExceededError,
    InvalidRequestError,
    Request,
    RetrySettings,
    Settings,
)
from apikeyrouter.core.budget import Budget
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.measure import measure
from apikeyrouter.core.policy import Policy
from apikeyrouter.ports import Answer, Call
from apikeyrouter.testing import ManualClock


async def opened(*, limit: str | None = "1", **more: Any) -> tuple[ApiKeyRouter, Spiteful]:
    adapter = more.pop("adapter", None) or Spiteful()
    router = ApiKeyRouter(
        budgets=[] if limit is None else [Budget(scope="global", limit=limit, period="total")],
        prices=book(),
        settings=more.pop("settings", None) or Settings(default_max_output=500),
        clock=ManualClock(),
        log=False,
        **more,
    )
    await router.register_provider("p", adapter)
    await router.register_key("sk-opponent-000000", "p", id="k")
    return router, adapter


LONG = "word " * 2_000
SCHEMA = {"type": "object", "properties": {f"field_{n}": {"type": "string"} for n in range(100)}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
TRICKS: dict[str, tuple[str, dict[str, object]]] = {
    "a plain request": ("chat", said("hello")),
    "no bound": ("chat", said("hello")),
    "many answers without a bound": ("chat", {**said("hello"), "n": 50}),
    "many answers": ("chat", {**said("hello"), "n": 50, "max_tokens": 100}),
    "best of many": ("completion", {"prompt": "once", "best_of": 20, "max_tokens": 100}),
    "best of many without a bound": ("completion", {"prompt": "once", "best_of": 20}),
    "a huge bound": ("chat", {**said("hello"), "max_tokens": 10**12}),
    "the smaller of two bounds last": ("chat", {**said("x"), "max_completion_tokens": 9_000, "max_tokens": 1}),
    "another operation's bound": ("chat", {**said("hello"), "max_output_tokens": 5}),
    "another operation's bound, the other way": ("responses", {"input": "hello", "max_tokens": 5}),
    "wide characters": ("chat", said("\U0001f468‍\U0001f469‍\U0001f467" * 1_000)),
    "half a pair": ("chat", said("\ud800" * 5_000)),
    "a name": ("chat", said("hello", name=LONG)),
    "an old function call": ("chat", said("hello", function_call={"name": "f", "arguments": LONG})),
    "a field nobody knows": ("chat", {**said("hello"), "memory": {"before": [LONG]}}),
    "a suffix": ("completion", {"prompt": "once", "suffix": LONG}),
    "a prediction": ("chat", {**said("hello"), "prediction": {"type": "content", "content": LONG}}),
    "an image that says it is text": ("chat", said([{**PICTURE, "text": ""}])),
    "images": ("chat", said([PICTURE] * 5)),
    "a tool that says it is an image": ("chat", {**said("x"), "tools": [{**TOOL, "type": "image", "note": LONG}]}),
    "a text with a tail": ("chat", said([{"type": "text", "text": "hello", "more": LONG}])),
    "a tool call with a text": ("chat", said([{"type": "tool_use", "text": "x", "input": {"a": LONG}}])),
    "tools": ("chat", {**said("hello"), "tools": [TOOL] * 10}),
    "a schema": ("chat", {**said("x"), "response_format": {"type": "json_schema", "json_schema": SCHEMA}}),
    "a document": ("chat", said([{"type": "document", "source": {"type": "base64", "data": "DATA" * 500}}])),
    "a file by its name": ("chat", said([{"type": "file", "file": {"file_id": "file-1"}}])),
    "a film by its address": ("chat", said([{"type": "video_url", "video_url": {"url": "http://127.0.0.1/f"}}])),
    "an earlier conversation": ("responses", {"input": "and now?", "previous_response_id": "resp_1"}),
    "a cached context": ("chat", {**said("hello"), "cached_content": "cachedContents/1"}),
    "a search": ("chat", {**said("hello"), "tools": [{"type": "web_search"}]}),
    "a dearer tier": ("chat", {**said("hello"), "max_tokens": 1_000, "service_tier": "priority"}),
    "a cheaper tier": ("chat", {**said("hello"), "max_tokens": 1_000, "service_tier": "flex"}),
    "token numbers": ("completion", {"prompt": list(range(5_000))}),
    "nested deeply": ("chat", {**said("hello"), "x": [[[[[[[[[[LONG]]]]]]]]]]}),
}


async def spend(router: ApiKeyRouter, name: str, times: int = 50, **options: Any) -> None:
    operation, body = TRICKS[name]
    for _ in range(times):
        try:
            await router.route({"model": "m", **body}, operation=operation, wait=False, **options)
        except BudgetExceededError:
            return


@pytest.mark.parametrize("reports", [True, False], ids=["told", "untold"])
@pytest.mark.parametrize("name", TRICKS)
async def test_no_body_spends_more_than_is_held(name: str, reports: bool) -> None:
    router, adapter = await opened(adapter=Spiteful(reports=reports))
    await spend(router, name)
    (budget,) = router.budget_status()
    assert budget.overrun == 0
    assert adapter.billed <= budget.spent * 10**9 <= 10**9
    assert adapter.billed or name in ("a huge bound",)  # it was not refused for nothing


@pytest.mark.parametrize("name", TRICKS)
async def test_no_body_costs_more_than_its_own_max_cost(name: str) -> None:
    router, adapter = await opened(limit=None)
    await spend(router, name, 1, max_cost="0.3")
    assert adapter.billed <= 300_000_000


async def test_no_bound_is_needed_under_a_max_cost_because_one_is_sent() -> None:
    router, adapter = await opened(limit=None)
    await spend(router, "no bound", 1, max_cost="0.3")
    assert adapter.calls[0]["max_completion_tokens"] > 100
    await spend(router, "no bound", 1)
    assert "max_completion_tokens" not in adapter.calls[1]


@pytest.mark.parametrize(
    "policy",
    [
        {"max_cost": "0.1"},
        {"scope": "provider:p", "max_cost": "0.1"},
        {"objective": {"constraints": {"max_cost": 0.1}}},
    ],
    ids=["policy", "provider", "objective"],
)
async def test_a_cap_of_a_policy_binds_whatever_the_body(policy: dict[str, object]) -> None:
    router, adapter = await opened(limit=None, policies=[Policy.of("cap", policy)])
    for name in TRICKS:
        before = adapter.billed
        try:
            await spend(router, name, 1)
        except Exception as error:  # noqa: BLE001  (refused in whichever way is right)
            assert "max_cost" in str(error)  # noqa: PT017
        assert adapter.billed - before <= 100_000_000, name


@pytest.mark.parametrize("bound", [-1, 0, 1.5, "9", True, float("nan"), [], 10**400], ids=lambda value: str(value)[:9])
async def test_a_bound_that_is_no_number_of_tokens_is_refused(bound: object) -> None:
    router, adapter = await opened()
    with pytest.raises((InvalidRequestError, BudgetExceededError)):
        await router.route({"model": "m", **said("x"), "max_tokens": bound}, wait=False)
    assert adapter.billed == 0


async def test_who_breaks_off_a_stream_pays_what_was_held() -> None:
    """The usage told so far is not what will be billed."""
    router, adapter = await opened()
    for _ in range(2_000):
        stream = router.stream({"model": "m", **said("hello"), "max_tokens": 5_000}, wait=False)
        try:
            async for _ in stream:
                break
        except BudgetExceededError:
            break
        await stream.aclose()
    (budget,) = router.budget_status()
    assert adapter.billed <= budget.spent * 10**9 <= 10**9


async def test_a_stream_that_was_read_pays_what_was_used() -> None:
    router, adapter = await opened()
    async for _ in router.stream({"model": "m", **said("hello"), "max_tokens": 50}):
        pass
    (budget,) = router.budget_status()
    assert budget.spent * 10**9 == adapter.billed
    assert budget.held == Decimal(0)


# -- attempts, and callers who send by themselves ----------------------------------------------------------------------


class Silent(Spiteful):
    """Bills and never answers."""

    async def send(self, call: Call) -> Answer:
        self.bill(call)
        return Answer(status=None, failure=Failure(kind=Kind.TIMEOUT, billed=True))


CAPS = {
    "request": ({"max_cost": "0.004"}, {}),
    "policy": ({}, {"max_cost": "0.004"}),
    "provider's policy": ({}, {"scope": "provider:p", "max_cost": "0.004"}),
    "objective": ({"objective": {"cost": 1, "constraints": {"max_cost": 0.004}}}, {}),
}


@pytest.mark.parametrize("cap", CAPS)
async def test_all_attempts_together_keep_every_max_cost(cap: str) -> None:
    """Each may have been billed, and nobody knows: a little over a tenth of a cent each, of four."""
    options, policy = CAPS[cap]
    settings = Settings(retry=RetrySettings(attempts=9, per_key=9, per_provider=9, backoff_s=0.0))
    policies = [Policy.of("cap", policy)] if policy else []
    router, adapter = await opened(limit=None, adapter=Silent(), policies=policies, settings=settings)
    body: dict[str, Any] = {"model": "m", **said("hello"), "max_tokens": 1_200}
    with pytest.raises(ApiKeyRouterError):
        await router.route(body, wait=False, timeout=1_000, **options)
    assert len(adapter.calls) == 3
    assert adapter.billed <= 4_000_000


@pytest.mark.parametrize(("limit", "most"), [("1", 500), (None, None)], ids=["hard budget", "no limit"])
async def test_who_sends_by_himself_is_told_the_bound(limit: str | None, most: int | None) -> None:
    router, _ = await opened(limit=limit)
    assert router.acquire(Request(model="m", input_tokens=5)).bound == most
    assert router.acquire(Request(model="m", input_tokens=5, max_output_tokens=9)).bound is None
    many = measure("chat", {**said("hello"), "n": 4})
    lease = router.acquire(Request(model="m"), measure=many)
    assert (lease.bound, lease.need[3]) == (most, 4 * most if most else lease.need[3])
    capped = router.acquire(Request(model="m", input_tokens=5, max_cost=Decimal(1)))
    assert capped.bound == capped.need[3]
