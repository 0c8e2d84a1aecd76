"""What a caller can get wrong is a typed error: one sentence with the thing and the way out, and never a key in it."""

from __future__ import annotations

import math
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from stage import Opener, Stage, chat

from apikeyrouter import (
    ApiKeyRouter,
    ApiKeyRouterError,
    Budget,
    DecisionNotFoundError,
    InvalidConfigurationError,
    InvalidRequestError,
    KeyNotFoundError,
    Limit,
    MissingConfigurationError,
    NoEligibleKeysError,
    OpenAIAdapter,
    ProviderNotFoundError,
    QuotaExhaustedError,
    Request,
)
from apikeyrouter.simulator import Organisation, limits

WORLD = (
    Organisation(id="org-a", keys=("a1",), limits=limits(rpm=6000)),
    Organisation(id="geo", keys=("g1",), dialect="plain", limits=limits(rpm=600, shape="fixed")),
)
CANARY = "sk-canary-0123456789abcdef"
MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.fixture
async def stage(opened: Opener) -> AsyncIterator[Stage]:
    stage = await opened(WORLD)
    yield stage
    assert stage.count() == 0  # nothing wrong was ever sent


def is_one_good_sentence(error: BaseException) -> bool:
    text = str(error)
    whole = "".join(traceback.format_exception(error))
    assert isinstance(error, ApiKeyRouterError)
    assert text
    assert "\n" not in text
    assert "Traceback" not in text
    assert "NoneType" not in text
    assert CANARY not in whole
    return True


Wrong = Callable[[ApiKeyRouter], Awaitable[object]]

BODIES: dict[str, tuple[Any, str]] = {
    "not a mapping": ("Hello", "must be a mapping"),
    "a list": ([{"role": "user"}], "must be a mapping"),
    "none": (None, "must be a mapping"),
    "no model": ({"messages": MESSAGES}, "`model`"),
    "empty model": ({"model": "", "messages": MESSAGES}, "`model`"),
    "model no text": ({"model": 4, "messages": MESSAGES}, "`model`"),
    "no messages": ({"model": "gpt-4o-mini"}, "messages"),
    "empty messages": ({"model": "gpt-4o-mini", "messages": []}, "at least one message"),
    "messages a text": ({"model": "gpt-4o-mini", "messages": "Hello"}, "list of messages"),
    "a message a text": ({"model": "gpt-4o-mini", "messages": ["Hello"]}, r"messages\[0\]"),
    "no role": ({"model": "gpt-4o-mini", "messages": [{"content": "Hello"}]}, "role"),
    "content a number": ({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": 3}]}, "content"),
    "max_tokens a text": (chat(max_tokens="many"), "max_tokens"),  # type: ignore[arg-type]
    "max_tokens negative": (chat(max_tokens=-5), "max_tokens"),
    "tools a text": (chat(tools="weather"), "tools"),
    "not JSON": (chat(metadata={"x": object()}), "JSON"),
    "not a number": (chat(temperature=math.nan), "JSON"),
}


@pytest.mark.parametrize("name", BODIES)
async def test_bodies(stage: Stage, name: str) -> None:
    body, said = BODIES[name]
    with pytest.raises(InvalidRequestError, match=said) as wrong:
        await stage.router.route(body)
    assert is_one_good_sentence(wrong.value)
    assert wrong.value.http_status == 400
    with pytest.raises(InvalidRequestError, match=said):
        [_ async for _ in stage.router.stream(body)]


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "timeout 0": ({"timeout": 0}, "timeout is 0"),
    "timeout negative": ({"timeout": -1.5}, "timeout is -1.5"),
    "timeout text": ({"timeout": "30"}, "timeout is '30'"),
    "timeout nan": ({"timeout": math.nan}, "timeout is nan"),
    "timeout infinite": ({"timeout": math.inf}, "timeout is inf"),
    "timeout true": ({"timeout": True}, "timeout is True"),
    "max_cost text": ({"max_cost": "cheap"}, "max_cost is 'cheap'"),
    "max_cost negative": ({"max_cost": "-1"}, "max_cost is '-1'"),
    "max_cost nan": ({"max_cost": "NaN"}, "max_cost is 'NaN'"),
    "max_cost infinite": ({"max_cost": Decimal("Infinity")}, "max_cost is Infinity"),
    "max_cost list": ({"max_cost": [1]}, "max_cost is"),
    "max_cost true": ({"max_cost": True}, "max_cost is"),
    "tags a text": ({"tags": "feature"}, "tags"),
    "tags of numbers": ({"tags": {"feature": 1}}, "tags"),
    "needs a text": ({"needs": "tools"}, "needs"),
    "tenant a number": ({"tenant": 7}, "tenant"),
    "user a list": ({"user": ["ann"]}, "user"),
    "priority a text": ({"priority": "high"}, "priority"),
    "request_id empty": ({"request_id": ""}, "request_id"),
    "request_id a number": ({"request_id": 12}, "request_id"),
    "request_id long": ({"request_id": "x" * 300}, "request_id"),
    "operation a number": ({"operation": 3}, "operation"),
    "operation unknown": ({"operation": "sing", "provider": "openai"}, "sing"),
    "provider a number": ({"provider": 3}, "provider"),
    "a misspelt option": ({"timout": 3}, "did you mean 'timeout'"),
    "wait a text": ({"wait": "no"}, "wait"),
}


@pytest.mark.parametrize("name", OPTIONS)
async def test_options(stage: Stage, name: str) -> None:
    options, said = OPTIONS[name]
    with pytest.raises(InvalidRequestError, match=said) as wrong:
        await stage.router.route(chat(), **options)
    assert is_one_good_sentence(wrong.value)


async def test_an_objective_that_does_not_exist(stage: Stage) -> None:
    for objective in ("cheapest", {"cots": 1}, {"cost": -1}, {"cost": "much"}, 3):
        with pytest.raises(ApiKeyRouterError, match=r"(?i)objective|weight") as wrong:
            await stage.router.route(chat(), objective=objective)
        assert is_one_good_sentence(wrong.value)


async def test_nobody_serves_that_model(opened: Opener) -> None:
    stage = await opened(WORLD)
    stage.router.enrolment.add_alias("fast", ["openai/gpt-4o-mini"])
    with pytest.raises(NoEligibleKeysError, match=r"'nonesuch'.*fast.*provider/model") as wrong:
        await stage.router.route(chat(model="nonesuch"))
    assert is_one_good_sentence(wrong.value)
    with pytest.raises(NoEligibleKeysError, match=r"register_key adds one"):
        await ApiKeyRouter(log=False).route(chat())
    assert stage.count() == 0


async def test_a_provider_that_does_not_exist(stage: Stage) -> None:
    with pytest.raises(ProviderNotFoundError, match=r"'acme' is not registered; known: geo, openai") as wrong:
        await stage.router.route(chat(), provider="acme")
    assert is_one_good_sentence(wrong.value)
    with pytest.raises(ProviderNotFoundError, match=r"'acme'.*register the provider first"):
        await stage.router.register_key(CANARY, "acme")
    with pytest.raises(ProviderNotFoundError, match="'acme' is unknown"):
        await stage.router.register_provider("x", "acme")


async def test_what_an_operation_does_not_take(stage: Stage) -> None:
    with pytest.raises(InvalidRequestError, match=r"'query' is no value of operation 'geocode'; it takes q"):
        await stage.router.route({"q": "Oslo", "query": "Oslo"}, operation="geocode", provider="geo")
    with pytest.raises(InvalidRequestError, match=r"'reverse' is not offered here; use one of geocode"):
        await stage.router.route({"q": "Oslo"}, operation="reverse", provider="geo")


async def test_what_the_provider_refuses_is_told_in_its_words(opened: Opener) -> None:
    stage = await opened(WORLD)
    with pytest.raises(InvalidRequestError, match=r"400.*parameter 'q' is missing") as wrong:
        await stage.router.route({}, operation="geocode", provider="geo")
    assert is_one_good_sentence(wrong.value)
    assert stage.count() == 1


async def test_streaming_what_does_not_stream(stage: Stage) -> None:
    with pytest.raises(NoEligibleKeysError, match="streaming") as wrong:
        [_ async for _ in stage.router.stream({"q": "Oslo"}, operation="geocode", provider="geo")]
    assert is_one_good_sentence(wrong.value)
    assert "g1: geo lacks streaming." in str(wrong.value.decision)


async def test_ids_that_do_not_exist(stage: Stage) -> None:
    for verb in (stage.router.revoke_key, stage.router.disable_key, stage.router.enable_key):
        with pytest.raises(KeyNotFoundError, match="No key is called 'nobody'"):
            await verb("nobody")
    with pytest.raises(KeyNotFoundError):
        await stage.router.rotate_key("nobody", CANARY)
    with pytest.raises(DecisionNotFoundError, match="dec_0"):
        stage.router.explain("dec_0")


async def test_acquire_with_nonsense(stage: Stage) -> None:
    request = Request(model="gpt-4o-mini", input_tokens=10, max_output_tokens=10)
    for timeout in (-1, math.nan, "soon"):
        with pytest.raises(InvalidRequestError, match="timeout"):
            await stage.router.acquire_when_free(request, timeout=timeout)  # type: ignore[arg-type]
        with pytest.raises(InvalidRequestError, match="timeout"):
            stage.router.acquire(request, timeout=timeout)  # type: ignore[arg-type]
    for wrong in (
        Request(model="gpt-4o-mini", input_tokens=-10),
        Request(model="gpt-4o-mini", max_output_tokens=-1),
        Request(model="gpt-4o-mini", input_tokens="ten"),  # type: ignore[arg-type]
        Request(model=""),
    ):
        with pytest.raises(InvalidRequestError) as error:
            stage.router.acquire(wrong)
        assert is_one_good_sentence(error.value)


KEYS: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no secret": (None, {}, "secret"),
    "empty secret": ("", {}, "0 characters"),
    "short secret": ("sk-short", {}, "8 characters"),
    "a number": (123456789012, {}, "secret"),
    "blanks inside": ("sk-canary with blanks", {}, "characters that no HTTP header carries"),
    "line feed inside": (f"{CANARY}\nsk-canary-2", {}, "characters that no HTTP header carries"),
    "not ASCII": ("sk-canäry-0123456789", {}, "characters that no HTTP header carries"),
    "id with blanks": (CANARY, {"id": "my key"}, "does not match"),
    "id a number": (CANARY, {"id": 7}, "id"),
    "material as id": (CANARY, {"id": CANARY}, "its own secret"),
    "weight 0": (CANARY, {"weight": 0}, "weight"),
    "weight text": (CANARY, {"weight": "heavy"}, "weight"),
    "quality 2": (CANARY, {"quality": 2}, "quality"),
    "limits a mapping": (CANARY, {"limits": {"rpm": 500}}, r"Limit\.rpm"),
    "limits of numbers": (CANARY, {"limits": [500]}, r"Limit\.rpm"),
    "caps a text": (CANARY, {"caps": "rpm"}, r"Limit\.rpm"),
    "models a text": (CANARY, {"models": "gpt-4o*"}, "models"),
    "tags of numbers": (CANARY, {"tags": {"region": 1}}, "tags"),
    "pool a number": (CANARY, {"pool": 3}, "pool"),
    "tier a text": (CANARY, {"tier": "gold"}, "tier"),
    "a misspelt option": (CANARY, {"limit": [Limit.rpm(5)]}, "did you mean 'limits'"),
    "other limits for a pool": (CANARY, {"pool": "org-a", "limits": [Limit.rpm(1)]}, "already has other limits"),
}


@pytest.mark.parametrize("name", KEYS)
async def test_keys(stage: Stage, name: str) -> None:
    secret, options, said = KEYS[name]
    before = stage.router.get_state_summary()
    with pytest.raises((InvalidConfigurationError, MissingConfigurationError), match=said) as wrong:
        await stage.router.register_key(secret, "openai", **options)
    assert is_one_good_sentence(wrong.value)
    after = stage.router.get_state_summary()
    assert [k.id for k in after.keys] == [k.id for k in before.keys]
    assert [p.id for p in after.pools] == [p.id for p in before.pools]  # no half of it stays


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Limit.rpm(-1), "requests limit of -1"),
        (lambda: Limit.rpm(1.5), "1.5"),  # type: ignore[arg-type]
        (lambda: Limit.tpm("many"), "many"),  # type: ignore[arg-type]
        (lambda: Limit(of="words", amount=1), "limit of 'words'"),
        (lambda: Limit(of="requests", amount=1, per="fortnight"), "fortnight"),  # type: ignore[arg-type]
        (lambda: Limit.spend("much"), "'much'"),
        (lambda: Budget(scope="global", limit="-5"), "-5"),
        (lambda: Budget(scope="galaxy", limit="5"), "galaxy"),
        (lambda: Budget(scope="global", limit="5 EUR"), "EUR"),
        (lambda: Budget(scope="global", limit="5", period="fortnight"), "fortnight"),
        (lambda: ApiKeyRouter(state="redis://nowhere"), "redis"),
        (lambda: ApiKeyRouter(objective="cheapest"), "cheapest"),
        (lambda: OpenAIAdapter("http://api.example.com/v1"), "https"),
        (lambda: OpenAIAdapter(f"https://{CANARY}@api.example.com/v1"), "secret"),
    ],
)
def test_values(wrong: Callable[[], object], said: str) -> None:
    with pytest.raises(ApiKeyRouterError, match=said) as error:
        wrong()
    assert is_one_good_sentence(error.value)


async def test_a_provider_s_sentence_about_a_key_does_not_repeat_it(opened: Opener) -> None:
    stage = await opened([WORLD[0]])
    secret = stage.world.secret("a1")
    body = f'{{"error": {{"message": "Incorrect API key provided: {secret}.", "code": "invalid_api_key"}}}}'
    stage.world.faults.fail_next(1, status=401, body=body.encode())
    with pytest.raises(ApiKeyRouterError) as refused:
        await stage.router.route(chat())
    assert secret not in "".join(traceback.format_exception(refused.value))


async def test_a_key_without_material_cannot_send_and_says_so(opened: Opener) -> None:
    stage = await opened([WORLD[0]])
    await stage.router.revoke_key("a1")
    stage.router.enrolment.add_key(None, "openai", {"id": "kept-elsewhere"})
    with pytest.raises(MissingConfigurationError, match=r"'kept-elsewhere'.*rotate_key") as wrong:
        await stage.router.route(chat())
    assert is_one_good_sentence(wrong.value)
    assert stage.count() == 0


def test_a_file_with_mistakes_tells_them_all_at_once_and_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "apikeyrouter.yaml"
    file.write_text(
        "providers: {openai: {adapter: openai}}\n"
        "keys:\n"
        "  a1: {provider: openai, secret: env:NOT_SET_ANYWHERE}\n"
        f"  a2: {{provider: acme, secret: {CANARY}}}\n"
        f"  a3: {{provider: openai, secret: {CANARY}3, limits: {{rpm: -5}}}}\n"
        f"  a4: {{provider: openai, secret: {CANARY}4, wait: 2}}\n"
        "settings: {timeout: -1}\n",
        encoding="utf-8",
    )
    with pytest.raises(InvalidConfigurationError) as wrong:
        ApiKeyRouter.from_config(file, environ={})
    told = "\n".join(wrong.value.problems)
    assert CANARY not in "".join(traceback.format_exception(wrong.value))
    for line, word in ((3, "NOT_SET_ANYWHERE"), (4, "acme"), (5, "rpm"), (6, "weight"), (7, "timeout")):
        assert any(f":{line}: " in problem and word in problem for problem in wrong.value.problems), told
    assert len(wrong.value.problems) == 5, told


async def test_waiting_for_what_never_comes_is_not_begun(opened: Opener) -> None:
    stage = await opened([Organisation(id="org-a", keys=("a1",), limits=limits(rpm=0))])
    with pytest.raises(QuotaExhaustedError, match="can ever hold"):
        await stage.router.route(chat())
    assert stage.count() == 0
