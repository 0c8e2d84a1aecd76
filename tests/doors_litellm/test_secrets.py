"""No key is in anything the door shows: its objects, its sentences, its log, its explanations, its errors."""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import Any

import pytest
from litellm_stage import HELLO, Opener, Stage, deployment

from apikeyrouter import ApiKeyRouter, InvalidConfigurationError
from apikeyrouter.litellm.fleet import Fleet
from apikeyrouter.litellm.marks import KEY, attempt_of
from apikeyrouter.litellm.routes import explained, plain
from apikeyrouter.litellm.settings import read_settings
from apikeyrouter.simulator import World

SECRET = "sk-proj-Zq7Xw9Lk3Vt5Rb1Nc8Md"
OTHER = "sk-proj-Hy6Gt5Fr4De3Sw2Aq1Zx"


def shown(stage: Stage) -> str:
    """Everything that can be asked of a door and its engine, as text."""
    engine, strategy = stage.engine, stage.strategy
    summary = engine.get_state_summary()
    decisions = list(engine._router.decisions.values())
    fleet = strategy._fleet
    return "\n".join(
        str(each)
        for each in (
            repr(strategy), repr(engine), repr(fleet), repr(fleet.enrolled), repr(fleet.crews), repr(fleet.joining),
            summary, plain(summary), engine._router.transitions, stage.bills,
            *(f"{decision} {decision!r} {explained(decision)}" for decision in decisions),
        )
    )  # fmt: skip


def both(world: World, url: str) -> list[Any]:
    """One deployment with a second key."""
    further = [{"id": "b", "api_key": world.secret("b1"), "rpm": 600}]
    return [deployment(world, url, "a1", rpm=600, keys=further)]


def guarded(world: World, url: str) -> list[Any]:
    """The same at an address with a password."""
    (found,) = both(world, url)
    found["litellm_params"]["api_base"] = f"{url.replace('http://', f'http://user:{OTHER}@')}/v1"
    return [found]


async def test_nothing_shows_a_key(opened: Opener, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "apikeyrouter"):
        stage = await opened(models=both)
        await asyncio.gather(*(stage.chat() for _ in range(12)))
        await stage.settled()
    said = shown(stage) + caplog.text
    assert set(stage.keys_used) == {"a1", "a1.b"}
    assert not [name for name in stage.world.keys if stage.world.secret(name) in said]


async def test_a_pick_shows_no_key_and_no_password(opened: Opener) -> None:
    stage = await opened(models=guarded)
    kwargs: dict[str, Any] = {}
    await stage.strategy.async_get_available_deployment(model="chat", messages=HELLO, request_kwargs=kwargs)
    attempt = attempt_of(kwargs)
    assert attempt is not None
    crew = next(iter(stage.strategy._fleet.crews.values()))
    parts = [kwargs["metadata"][KEY], attempt, attempt.lease, crew, *crew.members.values(), stage.strategy._fleet]
    said = "\n".join(f"{part!r} {part}" for part in parts) + shown(stage)
    assert not [name for name in stage.world.keys if stage.world.secret(name) in said]
    assert OTHER not in said
    kwargs.clear()


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500])
async def test_a_key_that_a_provider_quotes_is_not_repeated(
    opened: Opener, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    stage = await opened(models=lambda world, url: [deployment(world, url, "a1", rpm=600)], max_wait=0.0)
    key = stage.world.secret("a1")
    sentence = f'{{"error": {{"message": "Incorrect API key provided: {key}.", "type": "x", "code": "{key}"}}}}'
    raised: list[BaseException] = []
    stage.world.faults.fail_next(9, status=status, body=sentence.encode())
    with caplog.at_level(logging.DEBUG, "apikeyrouter"):
        for _ in range(4):
            try:
                await stage.chat()
            except Exception as error:  # noqa: BLE001 - LiteLLM's, which quote the provider; ours must not
                ours = [each for each in chain(error) if type(each).__module__.startswith("apikeyrouter")]
                raised += [*ours, error] if ours else []
    assert not any(key in "".join(traceback.format_exception_only(each)) for each in raised)
    assert key not in shown(stage)
    assert key not in caplog.text


def chain(error: BaseException | None) -> list[BaseException]:
    found = []
    while error is not None:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


@pytest.mark.parametrize(
    "raw",
    [
        {"rpm": SECRET},
        {"limits": [{"of": SECRET, "amount": 1}]},
        {"pool": {"name": SECRET}},
        {"weight": SECRET},
        {"tier": SECRET},
        {"budget": SECRET},
        {"budget": {"usd": SECRET}},
        {"budgets": [{"limit": 1, "period": SECRET}]},
        {"price": SECRET},
        {"price": {"input": SECRET}},
        {"tags": SECRET},
        {"keys": SECRET},
        {"keys": {"b": SECRET}},
        {"keys": [SECRET]},
        {"keys": [{"id": "b", "secret": SECRET}]},
        {"keys": [{"id": SECRET, "api_key": OTHER, "rpn": 1}]},
        {SECRET: 1},
    ],
)
def test_a_key_in_the_wrong_place_is_not_quoted(raw: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        read_settings(raw, "model_info.apikeyrouter of 'key-a'")
    Fleet(ApiKeyRouter(log=False)).enrol(entry(raw))
    said = f"{caught.value} {caught.value!r} {caught.value.details} {caplog.text}"
    assert SECRET not in said
    assert OTHER not in said
    assert "key-a" in caplog.text


def entry(ours: Any) -> dict[str, Any]:
    params = {"model": "openai/gpt-4o-mini", "api_key": SECRET}
    return {"model_name": "chat", "litellm_params": params, "model_info": {"id": "key-a", "apikeyrouter": ours}}


@pytest.mark.parametrize("raw", [SECRET, [SECRET], 7])
def test_settings_that_are_no_mapping_are_told_without_them(raw: Any, caplog: pytest.LogCaptureFixture) -> None:
    fleet = Fleet(ApiKeyRouter(log=False))
    (member,) = fleet.enrol(entry(raw)).members
    assert member.key == "key-a"
    assert "write a mapping" in caplog.text
    assert SECRET not in caplog.text


def test_a_further_key_that_is_not_there_is_named_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    fleet = Fleet(ApiKeyRouter(log=False))
    one = fleet.enrol(entry({"keys": [{"id": "b", "api_key": "env:NO_SUCH_KEY"}, {"id": "c", "api_key": OTHER}]}))
    assert [member.key for member in one.members] == ["key-a", "key-a.c"]
    assert "NO_SUCH_KEY" in caplog.text
    assert "key 'b' of deployment 'key-a'" in caplog.text.replace("Key", "key")
