"""What each provider says when it refuses, and in its quota headers; the bodies are as documented or recorded."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.adapters import BaseAdapter
from apikeyrouter.adapters.dialect import dialect, names
from apikeyrouter.adapters.usage import read_usage
from apikeyrouter.core.classify import classify
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.headers import read_limits
from apikeyrouter.core.model import INPUT, OUTPUT, REQUESTS, TOKENS, Reading, Usage
from apikeyrouter.ports import Answer, Call

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
        (
            "cerebras",
            {
                "x-ratelimit-limit-requests-minute": "5",
                "x-ratelimit-remaining-requests-minute": "4",
                "x-ratelimit-limit-requests-hour": "150",
                "x-ratelimit-remaining-requests-hour": "149",
                "x-ratelimit-limit-requests-day": "2400",
                "x-ratelimit-remaining-requests-day": "2399",
                "x-ratelimit-reset-requests-day": "33011.382867097855",
            },
            (
                Reading(REQUESTS, 2_400, 2_399, 33_011.382867097855, 86_400.0),
                Reading(REQUESTS, 5, 4, None, 60.0),
                Reading(REQUESTS, 150, 149, None, 3_600.0),
            ),
        ),
        (
            "together",
            {
                "x-ratelimit-limit": "10",
                "x-ratelimit-remaining": "9",
                "x-ratelimit-limit-dynamic": "4",
                "x-ratelimit-remaining-dynamic": "3",
                "x-tokenlimit-limit-dynamic": "900",
                "x-tokenlimit-remaining-dynamic": "1",
            },
            (Reading(REQUESTS, 4, 3, None, 1.0), Reading(TOKENS, 900, 1, None, 1.0)),
        ),
        (
            "fireworks",
            {"x-ratelimit-limit-tokens-prompt": "21600000", "x-ratelimit-limit-tokens-generated": "216000"},
            (Reading(INPUT, 21_600_000, None, None, 60.0), Reading(OUTPUT, 216_000, None, None, 60.0)),
        ),
        (
            "cohere",
            {
                "x-endpoint-monthly-call-limit": "1000",
                "x-trial-endpoint-call-limit": "20",
                "x-trial-endpoint-call-remaining": "19",
            },
            (Reading(REQUESTS, 20, 19, None, 60.0),),
        ),
        ("xai", OPENAI_HEADERS, (Reading(REQUESTS, 10_000, 9_999, 8.64), Reading(TOKENS, 200_000, 199_938, 0.018))),
        (
            "generic",
            {"ratelimit-limit": "100", "ratelimit-remaining": "50", "ratelimit-reset": "30"},
            (Reading(REQUESTS, 100, 50, 30.0),),
        ),
        (
            "generic",
            {"ratelimit-policy": '"burst";q=100;w=60', "ratelimit": '"burst";r=50;t=30'},
            (Reading(REQUESTS, 100, 50, 30.0, 60.0),),
        ),
        (
            "generic",
            {"x-rate-limit-limit": "900", "x-rate-limit-remaining": "0", "x-rate-limit-reset": str(int(NOW) + 60)},
            (Reading(REQUESTS, 900, 0, 60.0),),
        ),
        ("cohere", OPENAI_HEADERS, ()),
        ("deepseek", OPENAI_HEADERS, ()),
        ("bedrock", OPENAI_HEADERS, ()),
        ("gemini", OPENAI_HEADERS, ()),
        ("vertex", OPENAI_HEADERS, ()),
    ],
)
def test_every_header_dialect_is_read(provider: str, headers: dict[str, str], readings: tuple[Reading, ...]) -> None:
    assert read_limits(dialect(provider).limits, headers, NOW) == readings


TEAM = "01234567-89ab-4def-8123-456789abcdef"
ORG = "in organization org-Ab1 on tokens per min (TPM): Limit 10000, Used 9000, Requested 2000. Please try again in 6s."
GROQ_ORG = "in organization `org_01ab` service tier `on_demand` on tokens per day (TPD): Limit 100000, Used 99736."
XAI = f"Too many tokens for team {TEAM} and model m. Your team's rate limit is — Tokens per Minute (actual/limit): 9/9."


@pytest.mark.parametrize(
    ("provider", "body", "readings", "owner"),
    [
        ("openai", e(ORG, code="rate_limit_exceeded"), (Reading(TOKENS, 10_000, 1_000, None, 60.0),), ("org-Ab1",)),
        ("groq", e(GROQ_ORG, type="tokens"), (Reading(TOKENS, 100_000, 264, None, 86_400.0),), ("org_01ab",)),
        ("xai", {"code": "resource-exhausted", "error": XAI}, (Reading(TOKENS, 9, 0, None, 60.0),), (TEAM,)),
        (
            "gemini",
            google(
                "RESOURCE_EXHAUSTED",
                violations=[{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "quotaValue": "10"}],
                metadata={"consumer": "projects/123456789012"},
            ),
            (Reading(REQUESTS, 10, 0, None, 60.0),),
            ("projects/123456789012",),
        ),
        (
            "gemini",
            google("RESOURCE_EXHAUSTED", violations=[{"quotaId": "GenerateRequestsPerDay", "quotaValue": "20"}]),
            (),
            (),
        ),
        ("mistral", {"message": "Requests rate limit exceeded", "code": "1300"}, (), ()),
        ("deepseek", e("Too many requests"), (), ()),
    ],
)
def test_what_a_refusal_says_of_quotas_and_their_owner(
    provider: str, body: object, readings: tuple[Reading, ...], owner: tuple[str, ...]
) -> None:
    failure = says(provider, 429, body)
    assert (failure.readings, failure.owner) == (readings, owner)


def test_headers_inside_a_body_are_read_like_its_own() -> None:
    """Recorded 2025-12: the quota's headers and the account stand in the body, the reset in epoch milliseconds."""
    limits = {"X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{int(NOW + 30)}000"}
    inner = {"message": "Rate limit exceeded: free-models-per-min.", "code": 429, "metadata": {"headers": limits}}
    adapter = Deaf(speech=dialect("openrouter"), clock=lambda: NOW)
    failure = adapter.classify(429, {}, {"error": inner, "user_id": "user_2tSuIu"})
    assert (failure.kind, failure.owner) == (Kind.RATE_LIMITED, ("user_2tSuIu",))
    assert failure.readings == (Reading(REQUESTS, 20, 0, 30.0),)
    assert failure.retry_after == 30.0
    assert adapter.classify(429, {"retry-after": "7"}, {"error": inner}).retry_after == 7.0


class Deaf(BaseAdapter):
    """An adapter that sends nothing."""

    async def send(self, call: Call) -> Answer:
        return Answer(status=None)


@pytest.mark.parametrize(
    ("provider", "headers", "owner"),
    [
        ("openai", {"openai-organization": "acme", "openai-project": "proj_1"}, ("acme", "proj_1")),
        ("openai", {"openai-organization": "acme"}, ("acme", "")),
        ("openai", {"openai-project": "proj_1"}, ()),
        ("anthropic", {"anthropic-organization-id": "8f1c"}, ("8f1c", "")),
        (
            "anthropic",
            {"anthropic-organization-id": "8f1c", "anthropic-workspace-id": "wrkspc_1"},
            ("8f1c", "wrkspc_1"),
        ),
        ("anthropic", {"request-id": "req_1"}, ()),
        ("gemini", {"openai-organization": "acme"}, ()),
    ],
)
def test_who_owns_the_quota_by_the_headers(provider: str, headers: dict[str, str], owner: tuple[str, ...]) -> None:
    assert Deaf(speech=dialect(provider)).identity(headers) == owner


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        ("openai", e("Request too large on tokens per min (TPM): Limit 0, Requested 9.", code="rate_limit_exceeded")),
        ("openai", e("Rate limit reached on input-images per min: Limit 0, Requested 1.", code="rate_limit_exceeded")),
        ("xai", {"error": "Requests per Minute (actual/limit): 1/0"}),
        ("gemini", google("RESOURCE_EXHAUSTED", "Quota exceeded for metric: m, limit: 0, model: x")),
    ],
)
def test_a_limit_of_zero_is_not_on_the_plan(provider: str, body: object) -> None:
    assert says(provider, 429, body).kind is Kind.NOT_ON_PLAN


_HEADERS = sorted(
    {
        name
        for each in names()
        for row in dialect(each).limits.rows
        for name in (row.limit, row.remaining, row.reset)
        if name
    }
    | {"ratelimit", "ratelimit-policy", "retry-after", "retry-after-ms", "date"}
)


@given(
    st.dictionaries(st.sampled_from(_HEADERS), st.text(alphabet='0123456789.,;="smhd:TZ- GMTlimit\u0661', max_size=60)),
    st.sampled_from(names()),
)
def test_malformed_headers_of_any_dialect_never_raise(headers: dict[str, str], name: str) -> None:
    adapter = Deaf(speech=dialect(name), clock=lambda: NOW)
    failure = adapter.classify(429, headers, {"error": {"metadata": {"headers": headers}}})
    for reading in (*adapter.limits(headers), *failure.readings):
        assert reading.limit is not None or reading.remaining is not None
        assert all(value is None or value >= 0 for value in (reading.limit, reading.remaining, reading.reset_s))


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


@pytest.mark.parametrize(("byok", "cost"), [(True, "0.0105"), (False, "0.0005"), (None, "0.0005"), ("true", "0.0005")])
def test_what_a_provider_bills_beside_a_gateways_fee_is_counted(byok: object, cost: str) -> None:
    """Else a budget would see a twentieth of the money."""
    stated = {"cost": 0.0005, "is_byok": byok, "cost_details": {"upstream_inference_cost": 0.01}}
    found = read_usage(dialect("openrouter").usage, {"usage": {"prompt_tokens": 1, **stated}})
    assert found is not None
    assert str(found.cost_reported) == cost


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
