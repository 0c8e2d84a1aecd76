"""What each provider says when it refuses, and in its quota headers; the bodies are as documented or recorded."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.adapters.dialect import dialect, names
from apikeyrouter.adapters.usage import read_usage
from apikeyrouter.core.classify import classify
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.headers import read_limits
from apikeyrouter.core.model import INPUT, OUTPUT, REQUESTS, TOKENS, Reading, Usage

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC).timestamp()
MONTH_END = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
MIDNIGHT_PACIFIC = datetime(2026, 11, 24, 8, tzinfo=UTC).timestamp()


def says(provider: str, status: int, body: object, **headers: str) -> Failure:
    speech = dialect(provider)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    readings = read_limits(speech.limits, named, NOW)
    return classify(speech.errors, status, named, body, now=NOW, readings=readings)


def e(message: str = "", **fields: object) -> dict[str, object]:
    return {"error": {"message": message, **fields}}


def anthropic(kind: str, message: str = "", **details: object) -> dict[str, object]:
    return {"type": "error", "error": {"type": kind, "message": message, "details": details}, "request_id": "req_1"}


def google(status: str, message: str = "", **detail: object) -> dict[str, object]:
    details = [{"@type": "type.googleapis.com/google.rpc.X", **detail}, {"retryDelay": "38.2s"}]
    return {"error": {"code": 429, "message": message, "status": status, "details": details}}


def openrouter(code: int, message: str = "", **metadata: object) -> dict[str, object]:
    return {"error": {"code": code, "message": message, "metadata": metadata}}


def quota(of: str) -> dict[str, object]:
    return google("RESOURCE_EXHAUSTED", "You exceeded your current quota", violations=[{"quotaId": of}])


CORPUS: dict[str, list[dict[str, object]]] = yaml.safe_load(
    Path(__file__).with_name("refusals.yaml").read_text("utf-8")
)
REFUSALS = [
    pytest.param(provider, row["status"], row["body"], row["means"], id=f"{provider}-{row['status']}-{row['means']}")
    for provider, rows in CORPUS.items()
    for row in rows
]


@pytest.mark.parametrize(("provider", "status", "body", "means"), REFUSALS)
def test_every_refusal_is_understood(provider: str, status: int, body: object, means: str) -> None:
    assert says(provider, status, body).kind is Kind(means)


def test_every_table_has_refusals_to_prove_it() -> None:
    assert {name for name in names() if name != "generic"} == set(CORPUS)


def test_a_bedrock_exception_may_be_named_by_a_header() -> None:
    named = says("bedrock", 429, {"message": "no"}, x_amzn_errortype="ModelNotReadyException:http://internal/")
    assert named.kind is Kind.OVERLOADED


def test_a_mistral_limit_of_zero_is_not_on_the_plan() -> None:
    body = {"message": "Rate limit exceeded"}
    assert says("mistral", 429, body, x_ratelimit_limit_req_minute="0").kind is Kind.NOT_ON_PLAN
    month = says("mistral", 429, body, x_ratelimit_remaining_tokens_month="0")
    assert (month.kind, month.until) == (Kind.QUOTA_EXHAUSTED, MONTH_END)


@pytest.mark.parametrize(
    ("failure", "until"),
    [
        (says("gemini", 429, quota("GenerateRequestsPerDayPerProjectPerModel")), MIDNIGHT_PACIFIC),
        (says("openai", 429, e(code="organization_spend_limit_exceeded", type="insufficient_quota")), MONTH_END),
        (says("openai", 429, e(code="insufficient_quota")), None),
        (says("anthropic", 429, anthropic("rate_limit_error", error_code="enforced_spend_limit_reached")), MONTH_END),
        (
            says(
                "anthropic",
                400,
                anthropic(
                    "invalid_request_error",
                    "You have reached your specified API usage limits. Regain access on 2026-11-25 at 00:00 UTC.",
                ),
            ),
            datetime(2026, 11, 25, tzinfo=UTC).timestamp(),
        ),
        (says("cohere", 429, {"message": "Trial key ... 1000 API calls / month"}), MONTH_END),
    ],
)
def test_until_when(failure: Failure, until: float | None) -> None:
    assert failure.until == until


@pytest.mark.parametrize(
    ("failure", "seconds"),
    [
        (says("gemini", 429, quota("GenerateRequestsPerMinute")), 38.2),
        (says("gemini", 429, google("RESOURCE_EXHAUSTED", "Please retry in 45.57s.")), 38.2),
        (
            says(
                "groq",
                429,
                e(
                    "Limit 100000, Used 97050, Requested 3619. Please try again in 9m38.016s.",
                    code="rate_limit_exceeded",
                ),
            ),
            578.016,
        ),
        (says("azure", 429, e("high demand. Please retry after 6 seconds.", code="429"), retry_after_ms="5500"), 5.5),
        (says("openrouter", 402, openrouter(402, reason="in_flight_budget_exhausted")), 10.0),
        (says("cohere", 429, {"message": "past the per minute request limit"}), 60.0),
    ],
)
def test_how_long(failure: Failure, seconds: float) -> None:
    assert failure.retry_after == pytest.approx(seconds)


OPENAI_HEADERS = {
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-remaining-requests": "9999",
    "x-ratelimit-reset-requests": "8.64s",
    "x-ratelimit-limit-tokens": "200,000",
    "x-ratelimit-remaining-tokens": "199938",
    "x-ratelimit-reset-tokens": "18ms",
}


@pytest.mark.parametrize(
    ("provider", "headers", "readings"),
    [
        ("openai", OPENAI_HEADERS, (Reading(REQUESTS, 10_000, 9_999, 8.64), Reading(TOKENS, 200_000, 199_938, 0.018))),
        (
            "openai",
            OPENAI_HEADERS | {"x-ratelimit-limit-project-tokens": "500", "x-ratelimit-remaining-project-tokens": "400"},
            (Reading(REQUESTS, 10_000, 9_999, 8.64), Reading(TOKENS, 500, 400)),
        ),
        (
            "azure",
            {
                "x-ratelimit-limit-tokens": "1000",
                "x-ratelimit-remaining-tokens": "10",
                "x-ratelimit-reset-tokens": "10",
            },
            (Reading(TOKENS, 1000, 10, 10.0),),
        ),
        (
            "groq",
            {
                "x-ratelimit-limit-requests": "14400",
                "x-ratelimit-remaining-requests": "14370",
                "x-ratelimit-reset-requests": "2m59.56s",
            },
            (Reading(REQUESTS, 14_400, 14_370, 179.56, 86_400.0),),
        ),
        (
            "anthropic",
            {
                "anthropic-ratelimit-requests-limit": "50",
                "anthropic-ratelimit-requests-remaining": "49",
                "anthropic-ratelimit-requests-reset": "2026-11-23T12:00:02Z",
                "anthropic-ratelimit-input-tokens-limit": "30000",
                "anthropic-ratelimit-input-tokens-remaining": "29000",
                "anthropic-ratelimit-output-tokens-limit": "8000",
                "anthropic-ratelimit-output-tokens-remaining": "8000",
                "anthropic-ratelimit-tokens-limit": "38000",
                "anthropic-ratelimit-tokens-remaining": "37000",
            },
            (Reading(REQUESTS, 50, 49, 2.0), Reading(INPUT, 30_000, 29_000), Reading(OUTPUT, 8_000, 8_000)),
        ),
        (
            "mistral",
            {
                "x-ratelimit-limit-req-minute": "60",
                "x-ratelimit-remaining-req-minute": "59",
                "x-ratelimit-limit-tokens-month": "1000000",
                "x-ratelimit-remaining-tokens-month": "999",
            },
            (Reading(REQUESTS, 60, 59, None, 60.0), Reading(TOKENS, 1_000_000, 999, None, 2_629_800.0)),
        ),
        (
            "cerebras",
            {
                "x-ratelimit-limit-tokens-minute": "30000",
                "x-ratelimit-remaining-tokens-minute": "1",
                "x-ratelimit-reset-tokens-minute": "11.38",
            },
            (Reading(TOKENS, 30_000, 1, 11.38, 60.0),),
        ),
        (
            "together",
            {
                "x-ratelimit-limit": "10",
                "x-ratelimit-remaining": "9",
                "x-ratelimit-reset": "1",
                "x-tokenlimit-limit": "3000",
                "x-tokenlimit-remaining": "2000",
            },
            (Reading(REQUESTS, 10, 9, 1.0, 1.0), Reading(TOKENS, 3000, 2000, None, 1.0)),
        ),
        (
            "fireworks",
            {
                "x-ratelimit-limit-tokens-prompt": "60000",
                "x-ratelimit-remaining-tokens-prompt": "5",
                "x-ratelimit-limit-tokens-generated": "6000",
                "x-ratelimit-remaining-tokens-generated": "4",
            },
            (Reading(INPUT, 60_000, 5, None, 60.0), Reading(OUTPUT, 6000, 4, None, 60.0)),
        ),
        (
            "openrouter",
            {"x-ratelimit-limit": "20", "x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW + 30) * 1000)},
            (Reading(REQUESTS, 20, 0, 30.0),),
        ),
        (
            "generic",
            {"x-ratelimit-limit": "5000", "x-ratelimit-remaining": "4999", "x-ratelimit-reset": str(int(NOW) + 3600)},
            (Reading(REQUESTS, 5000, 4999, 3600.0),),
        ),
        ("deepseek", OPENAI_HEADERS, ()),
    ],
)
def test_every_header_dialect_is_read(provider: str, headers: dict[str, str], readings: tuple[Reading, ...]) -> None:
    assert read_limits(dialect(provider).limits, headers, NOW) == readings


@pytest.mark.parametrize(
    ("provider", "body", "usage"),
    [
        ("openai", {"usage": {"prompt_tokens": 0, "completion_tokens": 0}}, None),
        (
            "openai",
            {"response": {"usage": {"input_tokens": 9, "output_tokens": 3}}},
            Usage(input_tokens=9, output_tokens=3),
        ),
        (
            "groq",
            {"x_groq": {"usage": {"prompt_tokens": 9, "completion_tokens": 3}}},
            Usage(input_tokens=9, output_tokens=3),
        ),
        (
            "deepseek",
            {"usage": {"prompt_tokens": 9, "completion_tokens": 3, "prompt_cache_hit_tokens": 4}},
            Usage(input_tokens=9, output_tokens=3, cache_read_tokens=4),
        ),
        (
            "xai",
            {
                "usage": {
                    "prompt_tokens": 10,
                    "completion_tokens": 5,
                    "total_tokens": 22,
                    "completion_tokens_details": {"reasoning_tokens": 7},
                }
            },
            Usage(input_tokens=10, output_tokens=12, reasoning_tokens=7),
        ),
        (
            "anthropic",
            {
                "usage": {
                    "input_tokens": 10,
                    "output_tokens": 5,
                    "cache_read_input_tokens": 100,
                    "cache_creation_input_tokens": 20,
                }
            },
            Usage(input_tokens=130, output_tokens=5, cache_read_tokens=100, cache_write_tokens=20),
        ),
        (
            "gemini",
            {
                "usageMetadata": {
                    "promptTokenCount": 10,
                    "candidatesTokenCount": 5,
                    "thoughtsTokenCount": 7,
                    "totalTokenCount": 30,
                }
            },
            Usage(input_tokens=10, output_tokens=12, reasoning_tokens=7),
        ),
        ("openai", {"usage": None}, None),
        ("openai", {"usage": {"prompt_tokens": "many", "completion_tokens": -3, "x": True}}, None),
        ("openai", [], None),
    ],
)
def test_usage_is_read_from_where_each_provider_puts_it(provider: str, body: object, usage: Usage | None) -> None:
    assert read_usage(dialect(provider).usage, body) == usage


def test_a_stated_cost_is_exact() -> None:
    found = read_usage(dialect("openrouter").usage, {"usage": {"prompt_tokens": 1, "cost": 0.00014}})
    assert found is not None
    assert str(found.cost_reported) == "0.00014"


BYTES = st.binary(max_size=200)


@given(
    st.sampled_from(names()), st.integers(100, 599), st.dictionaries(st.text(max_size=20), st.text(max_size=40)), BYTES
)
def test_any_bytes_are_classified_by_every_table(name: str, status: int, headers: dict[str, str], raw: bytes) -> None:
    try:
        body: object = json.loads(raw)
    except ValueError:
        body = raw.decode("latin-1")
    assert says(name, status, body).kind in Kind
    assert classify(dialect(name).errors, status, headers, body, now=NOW).message.isprintable()
