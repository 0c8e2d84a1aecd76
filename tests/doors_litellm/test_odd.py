"""Odd input: a call is served or refused in LiteLLM's own words, and under a hard budget no answer gets longer."""

from __future__ import annotations

import asyncio
from typing import Any

import litellm
import pytest
from litellm.integrations.custom_logger import CustomLogger
from litellm_stage import HELLO, Opener, Stage, deployment, until

from apikeyrouter import ApiKeyRouter, Budget, Settings
from apikeyrouter.litellm.asking import measured, wait_of

NEVER = 10**400
LONG = {"extra_headers": {"x-sim-output-tokens": "400"}}
HELD = 20
"""Tokens that are held for an answer which nobody bounds; the provider would send 400."""


def word(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


async def under_a_budget(opened: Opener) -> Stage:
    budget = Budget(scope="global", limit="0.0001", mode="hard")
    return await opened(config=ApiKeyRouter(budgets=[budget], settings=Settings(default_max_output=HELD), log=False))


# --- hard limits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        {"messages": word("prompt")},
        {"messages": word("default text"), "stream": True},
        {"extra_body": {"max_tokens": None}},
        {"extra_body": {"max_tokens": "400"}, "n": "1"},
        {"max_completion_tokens": None, "extra_body": {"max_completion_tokens": None}},
        {"additional_drop_params": ["max_tokens"]},
        {"additional_drop_params": ["max_tokens"], "max_tokens": 5},
        {"additional_drop_params": ["max_tokens", "max_completion_tokens"], "max_completion_tokens": 5},
        {"messages": [{"content": "no role"}], "max_tokens": 0},
    ],
)
@pytest.mark.parametrize("now", [False, True])
async def test_no_word_of_a_client_lengthens_its_answer(opened: Opener, given: dict[str, Any], now: bool) -> None:
    stage = await under_a_budget(opened)
    call = {"model": "chat", "messages": HELLO, **LONG, **given}
    try:
        answer = await (asyncio.to_thread(stage.router.completion, **call) if now else stage.router.acompletion(**call))
        if given.get("stream"):
            _ = list(answer) if now else [each async for each in answer]
    except litellm.RateLimitError:
        assert stage.seen() == 0
    await stage.settled()
    await stage.quiet()
    assert all(seen.output_tokens <= HELD for seen in stage.world.record.all())


@pytest.mark.parametrize("limited", [True, False])
async def test_under_a_hard_budget_a_body_names_no_other_model(opened: Opener, limited: bool) -> None:
    priced = {"input_cost_per_token": 1e-7, "output_cost_per_token": 1e-7}
    budgets = [Budget(scope="global", limit="0.001", mode="hard" if limited else "soft")]
    stage = await opened(
        config=ApiKeyRouter(budgets=budgets, log=False),
        # Of the providers of this shape LiteLLM sends the body's own word to some.
        models=lambda world, url: [deployment(world, url, "a1", model="mistral/gpt-4o-mini", params=priced)],
    )
    await stage.chat(max_tokens=5, extra_body={"model": "gpt-4o", "seed": 7})
    await stage.quiet()
    (seen,) = stage.world.record.all()
    assert seen.model == ("gpt-4o-mini" if limited else "gpt-4o")


async def test_a_text_and_a_message_that_say_prompt_are_bounded(opened: Opener) -> None:
    stage = await under_a_budget(opened)
    await stage.router.atext_completion(model="chat", prompt="prompt", **LONG)
    await stage.router.aanthropic_messages(model="chat", messages=word("prompt"), max_tokens=HELD, **LONG)
    await stage.router.aresponses(
        model="chat", input="x", max_output_tokens=5, additional_drop_params=["max_output_tokens"], **LONG
    )
    await stage.settled()
    await stage.quiet()
    assert [seen.output_tokens for seen in stage.world.record.all()] == [HELD] * 3
    assert "other" not in [d.request.operation for d in stage.engine._router.decisions.values()]


async def test_what_makes_an_image_is_still_told_apart(opened: Opener) -> None:
    stage = await opened()
    with pytest.raises(litellm.NotFoundError):
        await stage.router.aimage_generation(model="chat", prompt="the sea")
    await until(lambda: stage.outcomes == ["invalid"])
    (decision,) = stage.engine._router.decisions.values()
    assert decision.request.operation == "other"


def test_what_is_put_into_the_body_is_weighed() -> None:
    long = word("sea " * 1_000)
    plain = measured("chat", long, None, {}, None)
    assert measured("chat", word("hi"), None, {"extra_body": {"messages": long}}, None) == plain


@pytest.mark.parametrize(
    ("given", "tokens", "answers"),
    [({"max_tokens": "40"}, 40, 1), ({"max_tokens": 40.0, "n": "3"}, 120, 3), ({"max_tokens": -1, "n": 0}, None, 1)],
)
def test_numbers_that_are_no_whole_ones_count(given: dict[str, Any], tokens: int | None, answers: int) -> None:
    found = measured("chat", [{"content": "no role"}], None, given, None)
    assert found is not None
    assert (found.max_output_tokens, found.answers) == (tokens, answers)
    assert found.chars == len("no role")


def test_a_deployments_bound_does_not_outlive_the_callers_word() -> None:
    """LiteLLM takes the caller's, be it None or dropped."""
    dropped = {"additional_drop_params": ["max_tokens"]}
    for given in ({"max_tokens": None}, dropped, {"extra_body": {"max_tokens": None}}):
        found = measured("chat", HELLO, None, given, 5)
        assert found is not None
        assert found.max_output_tokens is None


# --- options nobody can read ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        *({"metadata": {"apikeyrouter": {"max_cost": cost}}} for cost in ("nan", "snan", "inf", [1], {}, (1, 2, 3))),
        {"metadata": {"apikeyrouter": {"max_wait": NEVER}}},
        {"metadata": {"apikeyrouter": {"priority": NEVER}}},
        {"stream": True, "extra_body": {"stream_options": "x"}},
    ],
)
async def test_what_cannot_be_read_does_not_stop_a_call(opened: Opener, given: dict[str, Any]) -> None:
    stage = await opened()
    answer = await stage.chat(**given)
    if given.get("stream"):
        assert [each async for each in answer]
    await stage.settled()
    assert stage.outcomes == ["settled"]


@pytest.mark.parametrize("options", ["x", ["include_usage"]])
async def test_options_of_a_stream_that_are_none_are_litellms_to_refuse(opened: Opener, options: Any) -> None:
    stage = await opened()
    with pytest.raises(litellm.InternalServerError):
        await stage.chat(stream=True, stream_options=options)


def test_a_wait_without_end_is_the_doors_own() -> None:
    assert wait_of({"max_wait": NEVER}, None, 60.0) == 60.0


@pytest.mark.parametrize("objective", ["nope", {"a": 1}, ["cost"], 5])
async def test_an_objective_nobody_knows_is_a_bad_request(opened: Opener, objective: Any) -> None:
    stage = await opened(num_retries=2)
    metadata = {"apikeyrouter": {"objective": objective}}
    for call in (stage.chat(metadata=metadata), asyncio.to_thread(stage.chat_now, metadata=metadata)):
        with pytest.raises(litellm.BadRequestError, match="bjective") as caught:
            await call
        assert caught.value.num_retries == 0
    assert stage.seen() == 0


# --- without a loop, what LiteLLM's own filter does there -----------------------------------------------------------


async def test_without_a_loop_plugins_are_not_passed_by(opened: Opener) -> None:
    stage = await opened()
    if not hasattr(stage.router, "routing_plugins"):
        pytest.skip("this LiteLLM has no plugins there")
    stage.router.routing_plugins = [object()]
    with pytest.raises(ValueError, match="await"):
        await asyncio.to_thread(stage.chat_now)
    assert stage.seen() == 0


async def test_without_a_loop_context_windows_are_checked(opened: Opener) -> None:
    stage = await opened(enable_pre_call_checks=True)
    with pytest.raises(litellm.ContextWindowExceededError):
        await asyncio.to_thread(stage.chat_now, messages=word("word " * 200_000))
    assert stage.seen() == 0


async def test_without_a_loop_nothing_left_is_litellms_own_error(opened: Opener) -> None:
    stage = await opened()
    for each in stage.router.model_list:
        each["model_info"]["blocked"] = True
    with pytest.raises(ValueError, match="deployments available"):
        await asyncio.to_thread(stage.chat_now)


# --- callbacks that deny --------------------------------------------------------------------------------------------


class HTTPException(Exception):  # noqa: N818 - as FastAPI calls it, which guardrails raise
    def __init__(self, status_code: int) -> None:
        super().__init__("denied")
        self.status_code = status_code


class Guard(CustomLogger):
    """Denies every call that says so, after its deployment was picked."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def async_pre_call_deployment_hook(self, kwargs: dict[str, Any], call_type: Any) -> None:
        if "deny me" in str(kwargs.get("messages")):
            raise self.error


DENIALS = [RuntimeError("denied"), ValueError("denied"), *(HTTPException(status) for status in (401, 403, 429, 500))]


@pytest.mark.parametrize(
    ("error", "first"), [*((error, True) for error in DENIALS), *((error, False) for error in DENIALS[2:])]
)
async def test_what_a_callback_denies_is_no_fault_of_a_key(opened: Opener, error: Exception, first: bool) -> None:
    stage = await opened(max_wait=0.0)
    litellm.callbacks.insert(0 if first else len(litellm.callbacks), Guard(error))
    for _ in range(9):
        with pytest.raises(type(error), match="denied"):
            await stage.chat(messages=word("deny me"))
    await stage.chat()
    await stage.settled()
    assert stage.outcomes == ["released" if first else "invalid"] * 9 + ["settled"]
    assert all(key.state == "available" for key in stage.engine.list_keys())
