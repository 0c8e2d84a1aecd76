"""The door's parts by themselves: which LiteLLM is used, what settings mean, how answers and errors are read."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import litellm
import pytest

from apikeyrouter import ApiKeyRouter, Failure, InvalidConfigurationError, Limit, Request, Usage
from apikeyrouter.core.failure import Kind
from apikeyrouter.litellm.asking import caller_of, measured, operation_of, wait_of
from apikeyrouter.litellm.compat import brings_credentials
from apikeyrouter.litellm.fleet import Fleet
from apikeyrouter.litellm.guard import refusal
from apikeyrouter.litellm.handover import remember
from apikeyrouter.litellm.marks import KEY, Attempt, Mark, attempt_of
from apikeyrouter.litellm.outcome import (
    counted_usage,
    error_body,
    failure_of,
    headers_of,
    logged_headers,
    logged_usage,
    usage_of,
)
from apikeyrouter.litellm.pricing import price_in
from apikeyrouter.litellm.settings import read_settings

# --- which LiteLLM ------------------------------------------------------------------------------------------


def test_importing_the_door_loads_no_litellm() -> None:
    code = "import sys, apikeyrouter, apikeyrouter.litellm; sys.exit('litellm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("installed", "word"), [(None, "pip install"), ("1.82.7", "malicious"), ("1.82.8", "rotate")])
def test_a_litellm_that_is_missing_or_malicious_is_refused(installed: str | None, word: str) -> None:
    assert word in str(refusal(installed))


@pytest.mark.parametrize("installed", ["1.100.0", "1.106.2", "1.110.0", "unknown"])
def test_other_releases_are_not(installed: str) -> None:
    assert refusal(installed) is None


def test_a_malicious_release_is_not_even_imported(tmp_path: Path) -> None:
    package = tmp_path / "litellm.py"
    package.write_text("open('touched', 'w').close()\n", encoding="utf-8")
    metadata = tmp_path / "litellm-1.82.8.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: litellm\nVersion: 1.82.8\n", encoding="utf-8")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from apikeyrouter.litellm import ApiKeyRoutingStrategy"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "MissingDependencyError" in run.stderr
    assert "1.82.8" in run.stderr
    assert not (tmp_path / "touched").exists()


# --- settings -----------------------------------------------------------------------------------------------


def test_settings_speak_the_grammar_of_the_configuration() -> None:
    read = read_settings(
        {
            "rpm": 500,
            "tpm": 200_000,
            "limits": [{"of": "requests", "amount": 10_000, "per": "day", "window": "fixed"}],
            "pool": "org-a",
            "tags": {"region": "eu"},
            "tier": 1,
            "weight": 2,
            "budget": {"usd": 5, "per": "day"},
            "budgets": [{"limit": "20 USD", "period": "month", "mode": "soft"}],
            "price": {"input": "0.15", "output": "0.60"},
            "keys": [{"id": "b", "api_key": "os.environ/KEY_B", "rpm": 60}],
        },
        "key-a",
    )
    own = read.own
    assert own.limits[:2] == (Limit.rpm(500), Limit.tpm(200_000))
    assert (own.limits[2].per, own.limits[2].window) == ("day", "fixed")
    assert (own.pools, dict(own.tags), own.tier, own.weight) == (("org-a",), {"region": "eu"}, 1, 2.0)
    daily, monthly = own.budgets_of("key-a")
    assert (daily.scope, daily.limit, daily.period, daily.mode) == ("key:key-a", Decimal(5), "day", "hard")
    assert (monthly.limit, monthly.period, monthly.mode) == (Decimal(20), "month", "soft")
    assert read.price is not None
    assert read.price.cost(Usage(input_tokens=1_000_000)) == 150_000_000
    assert [(extra.id, extra.source, extra.settings.limits) for extra in read.extra] == [
        ("b", "os.environ/KEY_B", (Limit.rpm(60),))
    ]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"rpn": 500}, ["rpn", "did you mean"]),
        ({"rpm": "many"}, ["rpm"]),
        ({"budget": {"per": "day"}}, ["budget", "amount"]),
        ({"budget": {"usd": "5 EUR"}}, ["EUR"]),
        ({"price": {"inputs": 1}}, ["inputs"]),
        ({"keys": [{"id": "b"}]}, ["api_key"]),
        ({"rpm": -1, "weight": 0}, ["rpm", "weight"]),
    ],
)
def test_every_mistake_is_told_with_its_place(raw: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        read_settings(raw, "model_info.apikeyrouter of 'key-a'")
    assert "key-a" in str(caught.value)
    assert all(word in str(caught.value) for word in words)


def test_no_key_is_in_any_sentence_or_repr() -> None:
    secret = "sk-proj-0123456789abcdefghijklmnop"
    with pytest.raises(InvalidConfigurationError) as caught:
        read_settings({"keys": [{"id": "b", "api_key": secret, "rpn": 3}]}, "key-a")
    fleet = Fleet(ApiKeyRouter(log=False))
    keys = [{"id": "b", "api_key": f"{secret}b"}]
    one = fleet.enrol(
        {
            "model_name": "chat",
            "litellm_params": {"model": "openai/gpt-4o-mini", "api_key": secret},
            "model_info": {"id": "key-a", "apikeyrouter": {"keys": keys}},
        }
    )
    assert [member.key for member in one.members] == ["key-a", "key-a.b"]
    assert not any(secret in shown for shown in (str(caught.value), repr(fleet), repr(one), repr(fleet.router)))


def test_names_that_are_no_ids_become_some_and_stay_apart() -> None:
    fleet = Fleet(ApiKeyRouter(log=False))
    names = ["Key A/1", "key a/1", "x" * 100, "x" * 101, "ärger"]
    for name in names:
        params = {"model": "openai/gpt-4o-mini", "api_key": f"sk-{name!a:>20}".replace(" ", "_")}
        fleet.enrol({"model_name": "chat", "litellm_params": params, "model_info": {"id": name}})
    assert len({key.id for key in fleet.router.list_keys()}) == len(names)


@pytest.mark.parametrize(
    ("params", "nano"),
    [
        ({"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}, 5_000),
        ({"input_cost_per_token": 0, "output_cost_per_token": 0}, 0),
        ({"input_cost_per_request": 0.5}, 500_000_000),
    ],
)
def test_litellms_own_prices_are_ours(params: dict[str, Any], nano: int) -> None:
    price = price_in(params, {})
    assert price is not None
    assert price.cost(Usage(input_tokens=1, output_tokens=2)) == nano


def test_without_a_price_the_lists_are_asked() -> None:
    assert price_in({}, {"mode": "chat"}) is None
    assert price_in({"input_cost_per_token": "cheap"}, {}) is None


# --- asking -------------------------------------------------------------------------------------------------


async def aresponses() -> None: ...


@pytest.mark.parametrize(
    ("messages", "given", "kwargs", "operation"),
    [
        ([{"role": "user", "content": "hi"}], None, {}, "chat"),
        ([{"role": "user", "content": "prompt"}], None, {}, "other"),
        (None, ["a"], {}, "embeddings"),
        (None, "a", {"input": "a", "litellm_metadata": {}}, "responses"),
        (None, "a", {"original_generic_function": aresponses}, "responses"),
        (None, None, {}, "other"),
        ([], None, {}, "chat"),
    ],
)
def test_what_is_asked_for_is_read_from_what_litellm_passes(
    messages: Any, given: Any, kwargs: dict[str, Any], operation: str
) -> None:
    assert operation_of(messages, given, kwargs) == operation


def test_a_body_that_nobody_understands_has_no_measure() -> None:
    assert measured("chat", [], None, {}, None) is None
    assert measured("other", None, None, {}, None) is None


@pytest.mark.parametrize(
    ("metadata", "tenant", "user", "tags"),
    [
        ({}, None, "u", {}),
        ({"apikeyrouter": {"tenant": "acme", "user": "eve", "tags": {"a": "1"}}}, "acme", "eve", {"a": "1"}),
        ({"tags": ["plain", "team=red", "env:prod"]}, None, "u", {"plain": "true", "team": "red", "env": "prod"}),
        ({"user_api_key_team_id": "t", "user_api_key_user_id": "v"}, "t", "v", {}),
        ({"user_api_key_hash": "h", "user_api_key_alias": "bot"}, "bot", "u", {"key_alias": "bot"}),
        ({"user_api_key_hash": "h", "apikeyrouter": {"tenant": "forged"}}, None, "u", {}),
        ({"apikeyrouter": "nonsense", "tags": "nonsense"}, None, "u", {}),
    ],
)
def test_who_pays(metadata: dict[str, Any], tenant: str | None, user: str | None, tags: dict[str, str]) -> None:
    caller = caller_of({"metadata": metadata, "user": "u"})
    assert (caller.tenant, caller.user, dict(caller.tags)) == (tenant, user, tags)


@pytest.mark.parametrize(
    ("options", "timeout", "seconds"),
    [
        ({}, None, 60.0),
        ({}, 5.0, 5.0),
        ({"max_wait": 0}, 5.0, 0.0),
        ({"max_wait": 90}, None, 60.0),
        ({"max_wait": "x"}, None, 60.0),
    ],
)
def test_how_long_a_call_may_wait(options: dict[str, Any], timeout: float | None, seconds: float) -> None:
    assert wait_of(options, timeout, 60.0) == seconds


# --- marks --------------------------------------------------------------------------------------------------


DEPLOYMENT: dict[str, Any] = {"model_info": {"id": "a"}, "litellm_params": {"model": "openai/gpt-4o-mini"}}


def leased() -> tuple[ApiKeyRouter, Attempt]:
    router = ApiKeyRouter(log=False)
    fleet = Fleet(router)
    params = {"model": "openai/gpt-4o-mini", "api_key": "sk-0123456789"}
    one = fleet.enrol({"model_name": "chat", "litellm_params": params, "model_info": {"id": "a"}})
    member = one.members[0]
    among = frozenset({(member.key, member.model)})
    lease = router.acquire(Request(model="chat", among=among, input_tokens=1, max_output_tokens=1))
    return router, Attempt(lease, router)


@pytest.mark.parametrize(("sent", "outcome"), [(False, "released"), (True, "abandoned")])
def test_a_mark_that_is_dropped_ends_its_lease(sent: bool, outcome: str) -> None:
    router, attempt = leased()
    attempt.sent = sent
    metadata = {KEY: Mark.of(attempt)}
    copies = [copy.copy(metadata), copy.deepcopy(metadata)]
    del metadata
    gc.collect()
    assert router.get_state_summary().open_leases == 1, "the copies hold it"
    copies.pop()
    gc.collect()
    assert router.get_state_summary().open_leases == 1, "the other copy holds it"
    copies.clear()
    gc.collect()
    assert router.get_state_summary().open_leases == 0
    assert router.explain(attempt.lease.decision.id).outcome == outcome


def test_calls_that_share_their_metadata_do_not_take_each_others_mark() -> None:
    (_, first), (_, second) = leased(), leased()
    shared: dict[str, Any] = {"mine": 1}
    one, other = {"metadata": shared}, {"metadata": shared}
    remember(one, first, DEPLOYMENT)
    remember(other, second, DEPLOYMENT)
    assert (attempt_of(one), attempt_of(other)) == (first, second)
    within = {"metadata": one["metadata"], "litellm_logging_obj": object()}  # where LiteLLM has made a copy already
    remember(within, second, DEPLOYMENT)
    assert (attempt_of(one), attempt_of(within)) == (first, second)
    assert KEY not in shared


def test_a_mark_is_a_text_to_everybody_else() -> None:
    _, attempt = leased()
    mark = Mark.of(attempt)
    assert json.loads(json.dumps({KEY: mark})) == {KEY: attempt.lease.id}
    assert pickle.loads(pickle.dumps(mark)) == attempt.lease.id
    assert type(pickle.loads(pickle.dumps(mark))) is str
    assert attempt_of({"metadata": {KEY: mark}}) is attempt_of({"litellm_metadata": {KEY: mark}}) is attempt
    assert attempt_of({"metadata": {KEY: str(mark)}}) is None, "a client's own text is no mark"
    assert attempt_of(None) is attempt_of({}) is attempt_of({"metadata": None}) is None


# --- outcomes -----------------------------------------------------------------------------------------------


def test_usage_in_every_dialects_words() -> None:
    chat = litellm.ModelResponse(
        usage={
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 4},
        }
    )
    responses = {"usage": {"input_tokens": 10, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 4}}}
    anthropic = {"usage": {"input_tokens": 6, "output_tokens": 5, "cache_read_input_tokens": 4}}
    assert usage_of(chat) == usage_of(anthropic) == Usage(input_tokens=10, output_tokens=5, cache_read_tokens=4)
    told = usage_of(responses)
    assert told is not None
    assert (told.input_tokens, told.output_tokens, told.cache_read_tokens) == (10, 5, 4)
    assert usage_of(litellm.ModelResponse(usage={"prompt_tokens": 0, "completion_tokens": 0})) is None
    assert usage_of({}) is None


def test_usage_from_a_record_brings_litellms_cost() -> None:
    record = {"standard_logging_object": {"prompt_tokens": 3, "completion_tokens": 4, "response_cost": 0.25}}
    told = logged_usage(record, None)
    assert told == Usage(input_tokens=3, output_tokens=4, cost_reported=Decimal("0.25"))
    assert logged_usage({}, None) is None


def test_a_stream_without_usage_is_counted() -> None:
    built = litellm.ModelResponse(choices=[{"message": {"role": "assistant", "content": "x" * 41}}])
    assert counted_usage(built, 7) == Usage(input_tokens=7, output_tokens=11)
    assert counted_usage(litellm.ModelResponse(choices=[{"message": {"content": None}}]), 7) is None


def test_headers_come_back_under_their_own_names() -> None:
    answer = litellm.ModelResponse()
    answer._hidden_params = {"additional_headers": {"llm_provider-x-ratelimit-remaining-requests": 3, "x-litellm-y": 1}}
    assert headers_of(answer) == {"x-ratelimit-remaining-requests": "3"}
    answer._hidden_params = {"headers": {"X-RateLimit-Remaining-Requests": "2"}}
    assert headers_of(answer) == {"x-ratelimit-remaining-requests": "2"}
    hidden = {"additional_headers": {"llm_provider-retry-after": "5"}}
    assert logged_headers({"standard_logging_object": {"hidden_params": hidden}}) == {"retry-after": "5"}
    assert headers_of(object()) == logged_headers({}) == {}


def failed_as(kind: Kind, message: str, **more: Any) -> Failure:
    return Failure(kind=kind, message=message, **more)


def error(kind: type[Exception], **more: Any) -> Exception:
    return kind(message="no", llm_provider="openai", model="m", **more)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("failed", "found"),
    [
        (error(litellm.Timeout), failed_as(Kind.TIMEOUT, "Timeout", status=408, billed=True)),
        (error(litellm.UnsupportedParamsError), failed_as(Kind.INVALID, "UnsupportedParamsError", sent=False)),
        (error(litellm.ContextWindowExceededError), failed_as(Kind.TOO_LONG, "ContextWindowExceededError", status=400)),
        (error(litellm.InternalServerError), failed_as(Kind.NETWORK, "InternalServerError", billed=True)),
        (RuntimeError("x"), failed_as(Kind.NETWORK, "RuntimeError", billed=True)),
        (error(litellm.RateLimitError), 429),
        (error(litellm.AuthenticationError), 401),
    ],
)  # fmt: skip
def test_errors_are_read_by_class_then_by_status(failed: Exception, found: Failure | int) -> None:
    assert failure_of(failed) == found


def test_an_answer_with_500_is_the_providers_and_a_500_without_headers_is_the_networks() -> None:
    answered = error(litellm.InternalServerError)
    answered.litellm_response_headers = httpx.Headers({"x-request-id": "r"})  # type: ignore[attr-defined]
    assert failure_of(answered) == 500


def test_the_providers_body_is_found_attached_or_quoted() -> None:
    attached = error(litellm.RateLimitError)
    attached.body = {"code": "insufficient_quota"}  # type: ignore[attr-defined]
    quoted = RuntimeError('Exception - Error code: 429 - {"error": {"code": "insufficient_quota"}} and more')
    assert error_body(attached) == error_body(quoted) == {"error": {"code": "insufficient_quota"}}
    assert error_body(RuntimeError("{broken")) == "{broken"


@pytest.mark.parametrize("word", ["api_key", "api_base", "base_url"])
@pytest.mark.parametrize(("value", "own"), [("mine", True), ("", False), (None, False)])
def test_a_caller_brings_credentials_where_it_names_one(word: str, value: str | None, own: bool) -> None:
    assert brings_credentials({"model": "chat", word: value}) is own
