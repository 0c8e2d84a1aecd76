"""Any HTTP API from configuration: where values go, what failures mean, what it costs, and every mistake at once."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.adapters import DeclarativeAdapter
from apikeyrouter.core.failure import Kind
from apikeyrouter.core.model import REQUESTS, TOKENS, Reading, Usage
from apikeyrouter.core.window import Limit
from apikeyrouter.errors import InvalidConfigurationError
from apikeyrouter.ports import Answer, Call
from apikeyrouter.testing import AdapterSuite, PlainSecret, RawProvider, Refusal, response
from apikeyrouter.testing.raw import Received

GEOCODER: dict[str, object] = {
    "auth": {"header": "X-Api-Key"},
    "operations": {"geocode": {"method": "GET", "path": "/v1/geocode", "params": ["q", "limit"]}},
    "limits_from": ["ratelimit", "retry-after"],
    "cost": {"per_request": "0.0005"},
    "errors": [
        {"status": 403, "body": {"path": "$.code", "equals": "quota"}, "means": "quota_exhausted"},
        {"status": 200, "body": {"path": "$.status", "equals": "OVER_QUERY_LIMIT"}, "means": "rate_limited"},
        {"status": 418, "header": {"name": "X-Reason", "matches": "busy"}, "means": "overloaded"},
    ],
}
GEO_USAGE = Usage(cost_reported=Decimal("0.0005"))


class TestGeocoder(AdapterSuite):
    operation = "geocode"
    body: Mapping[str, object] = {"q": "Zürich"}
    answer = b'{"lat": 47.37, "lon": 8.54}'
    text = {"lat": 47.37, "lon": 8.54}  # noqa: RUF012
    usage = GEO_USAGE
    refusals = (
        Refusal(Kind.QUOTA_EXHAUSTED, 403, b'{"code": "quota"}'),
        Refusal(Kind.FORBIDDEN, 403, b'{"code": "region"}'),
        Refusal(Kind.RATE_LIMITED, 200, b'{"status": "OVER_QUERY_LIMIT"}'),
        Refusal(Kind.OVERLOADED, 418, b"{}", {"x-reason": "very BUSY"}),
        Refusal(Kind.RATE_LIMITED, 429, b"{}", {"retry-after": "30"}, retry_after=30.0),
        Refusal(Kind.UNAUTHENTICATED, 401, b'{"message": "bad key"}'),
        Refusal(Kind.INVALID, 404, b'{"message": "no such place"}'),
        Refusal(Kind.SERVER_ERROR, 500, b"oops"),
    )

    def make(self, base_url: str) -> DeclarativeAdapter:
        return DeclarativeAdapter(GEOCODER, base_url=base_url)


class TestKeyInQuery(TestGeocoder):
    key_in_url = True

    def make(self, base_url: str) -> DeclarativeAdapter:
        return DeclarativeAdapter({**GEOCODER, "auth": {"query": "key"}}, base_url=base_url)


class TestFeed(AdapterSuite):
    """Events of any API, whose last is known."""

    operation = "follow"
    body: Mapping[str, object] = {"topic": "Grüße"}
    text = "Grüße, 世界 🌍"
    usage = Usage(input_tokens=3, output_tokens=5, cost_reported=Decimal("0.002"))
    answer = '{"text": "Grüße, 世界 🌍", "usage": {"in": 3, "out": 5}, "price": "0.002"}'.encode()
    events = (
        'event: start\ndata: {"topic": "x"}\n\n'
        'data: {"text": "Grüße, "}\n\ndata: {"text": "世界 🌍"}\n\n'
        'data: {"usage": {"in": 3, "out": 5}, "price": "0.002"}\n\nevent: bye\ndata: {}\n\n'
    ).encode()
    stream_error = b'event: error\ndata: {"code": "busy"}\n\n'
    refusals = (
        Refusal(Kind.OVERLOADED, 503, b"{}"),
        Refusal(Kind.OVERLOADED, 200, b'{"code": "busy"}'),
        Refusal(Kind.RATE_LIMITED, 429, b"{}", {"retry-after": "3"}, retry_after=3.0),
        Refusal(Kind.UNAUTHENTICATED, 401, b"{}"),
    )

    def make(self, base_url: str) -> DeclarativeAdapter:
        follow = {"path": "/follow", "params": ["topic"], "stream": "sse", "content": "$.text", "ends": "bye"}
        return DeclarativeAdapter(
            base_url=base_url,
            operations={"follow": follow},
            cost={"path": "$.price"},
            usage={"at": ["$.usage"], "input": ["in"], "output": ["out"]},
            errors=[{"code": "busy", "status": [200, 503], "means": "overloaded"}],
        )


async def exchanged(
    operation: Mapping[str, object], body: Mapping[str, object], reply: bytes = b"{}", **settings: object
) -> tuple[Answer, list[Received]]:
    status = settings.pop("status", 200)
    assert isinstance(status, int)
    async with RawProvider([response(reply, status)]) as provider:
        adapter = DeclarativeAdapter({"base_url": provider.base_url, "operations": {"op": operation}, **settings})
        call = Call(operation="op", model="", body=body, secret=PlainSecret(), timeout=5, request_id="r")
        answer = await adapter.send(call)
        await adapter.aclose()
        return answer, provider.requests


@pytest.mark.parametrize(
    ("operation", "body", "line", "content"),
    [
        ({"path": "/x", "params": ["q"]}, {"q": "a b&c=ü"}, "GET /x?q=a%20b%26c%3D%C3%BC ", b""),
        ({"path": "/x", "params": ["q", "n"]}, {"q": "a", "model": "m", "stream": False}, "GET /x?q=a ", b""),
        ({"path": "/x"}, {"q": ["a", "b"], "on": True, "no": None}, "GET /x?q=a&q=b&on=true ", b""),
        ({"path": "/x", "params": {"q": "{a}, {b?}", "f": "json"}}, {"a": "B"}, "GET /x?q=B%2C%20&f=json ", b""),
        ({"path": "/{a}/y/{b}"}, {"a": "../..", "b": 7}, "GET /..%2F../y/7 ", b""),
        ({"path": "/x", "method": "DELETE"}, {"id": 1}, "DELETE /x?id=1 ", b""),
        ({"path": "/x", "method": "POST"}, {"a": [1, {"b": None}]}, "POST /x ", b'{"a":[1,{"b":null}]}'),
        ({"path": "/{a}", "method": "PUT", "params": ["b"]}, {"a": 1, "b": 2, "c": 3}, "PUT /1?b=2 ", b'{"c":3}'),
        (
            {"path": "/x", "method": "POST", "body": {"to": "{to}", "n": ["{n}", "{m?}"], "t": "Hi {to}", "k": 1}},
            {"to": "x", "n": 5},
            "POST /x ",
            b'{"to":"x","n":[5],"t":"Hi x","k":1}',
        ),
        ({"path": "/x", "method": "POST", "encoding": "form"}, {"To": "+1", "B": "ü"}, "POST /x ", b"To=%2B1&B=%C3%BC"),
        ({"path": "/{model}/x"}, {}, None, b""),
    ],
)  # fmt: skip
async def test_every_value_goes_to_its_place(
    operation: dict[str, object], body: dict[str, object], line: str | None, content: bytes
) -> None:
    answer, requests = await exchanged(operation, body, auth={"none": True})
    if line is None:
        assert answer.failure is not None
        assert not answer.failure.sent
        return
    assert answer.failure is None
    assert requests[0].head.startswith(line + "HTTP/1.1")
    assert requests[0].body == content


@pytest.mark.parametrize(
    ("operation", "body", "hint"),
    [
        ({"path": "/{a}"}, {}, "'a' is missing"),
        ({"path": "/{a}"}, {"a": ".."}, "part of a path"),
        ({"path": "/{a}"}, {"a": ""}, "part of a path"),
        ({"path": "/{a}"}, {"a": [1]}, "text or number"),
        ({"path": "/x", "params": ["q"]}, {"q": "a", "zz": 1}, "'zz' is no value"),
        ({"path": "/x", "method": "POST", "body": {"a": "{a}"}}, {"b": 1}, "is (missing|no value)"),
        ({"path": "/x"}, {"q": {"deep": 1}}, "text or number"),
    ],
)
async def test_a_body_that_does_not_fit_is_refused_unsent(
    operation: dict[str, object], body: dict[str, object], hint: str
) -> None:
    answer, requests = await exchanged(operation, body)
    assert answer.failure is not None
    assert (answer.failure.kind, answer.failure.sent) == (Kind.INVALID, False)
    assert requests == []
    assert re.search(hint, answer.failure.message)


KEY = PlainSecret().reveal()


@pytest.mark.parametrize(
    ("auth", "name", "value"),
    [
        ({"header": "X-Api-Key"}, "x-api-key", KEY),
        ({"header": "Authorization", "prefix": "Token "}, "authorization", f"Token {KEY}"),
        ({"bearer": True}, "authorization", f"Bearer {KEY}"),
        ({"basic": "user"}, "authorization", "Basic " + base64.b64encode(f"user:{KEY}".encode()).decode()),
        ({"none": True}, "authorization", None),
    ],
)
async def test_keys_travel_as_configured(auth: dict[str, object], name: str, value: str | None) -> None:
    _, requests = await exchanged({"path": "/x"}, {}, auth=auth, headers={"X-Fixed": "1"})
    assert requests[0].header(name) == value
    assert requests[0].header("x-fixed") == "1"


async def test_headers_of_an_operation_may_hold_values() -> None:
    _, requests = await exchanged({"path": "/x", "headers": {"X-Who": "u-{who}"}}, {"who": 5})
    assert requests[0].header("x-who") == "u-5"


@pytest.mark.parametrize(
    ("operation", "reply", "status", "content"),
    [
        ({"path": "/x"}, b"[1, 2]", 201, [1, 2]),
        ({"path": "/x"}, b'"text"', 200, "text"),
        ({"path": "/x"}, b"", 204, None),
        ({"path": "/x", "answer": "none"}, b"OK", 200, None),
        ({"path": "/x", "answer": "text"}, b"a;b\n1;2\n", 200, "a;b\n1;2\n"),
        ({"path": "/x", "content": "$.rows[0].id"}, b'{"rows": [{"id": 7}]}', 200, 7),
        ({"path": "/x"}, b'{"error": "none"}', 200, {"error": "none"}),
    ],
)
async def test_answers_in_every_form(operation: dict[str, object], reply: bytes, status: int, content: object) -> None:
    answer, _ = await exchanged(operation, {}, reply, status=status)
    assert answer.failure is None
    assert answer.content == content
    assert answer.usage == Usage()


async def test_what_is_no_json_is_malformed() -> None:
    answer, _ = await exchanged({"path": "/x"}, {}, b"<html>")
    assert answer.failure is not None
    assert answer.failure.kind is Kind.MALFORMED


async def test_costs_stated_and_configured() -> None:
    stated = {"path": "/x", "cost": {"path": "$.bill.usd", "per_request": "0.01"}}
    answer, _ = await exchanged(stated, {}, b'{"bill": {"usd": "0.0025"}}')
    assert answer.usage == Usage(cost_reported=Decimal("0.0025"))
    answer, _ = await exchanged(stated, {}, b"{}")
    assert answer.usage == Usage(cost_reported=Decimal("0.01"))
    tokens = {"at": ["$.meta"], "input": ["in"], "output": ["out"]}
    answer, _ = await exchanged({"path": "/x"}, {}, b'{"meta": {"in": 5, "out": 2}}', usage=tokens)
    assert answer.usage == Usage(input_tokens=5, output_tokens=2)


def made(**settings: object) -> DeclarativeAdapter:
    return DeclarativeAdapter({"base_url": "https://api.example.com", **GEOCODER, **settings})


def test_a_price_per_request_is_known_before() -> None:
    assert made().estimate_cost("geocode", {}) == 500_000
    assert made(cost=None).estimate_cost("geocode", {}) is None


DRAFT = {"ratelimit-policy": '"d";q=9;w=60', "ratelimit": '"d";r=5;t=30'}
HABIT = {"x-ratelimit-limit": "9", "x-ratelimit-remaining": "5"}


def test_limits_are_read_from_the_chosen_headers() -> None:
    both = {**DRAFT, **HABIT}
    assert made().limits(both) == (Reading(REQUESTS, 9, 5, 30.0, 60.0),)
    assert made(limits_from=["x-ratelimit"]).limits(both) == (Reading(REQUESTS, 9, 5),)
    assert made(limits_from=[]).limits(both) == ()
    own = [{"of": "tokens", "limit": "X-Quota", "remaining": "X-Left", "period": 86_400}]
    assert made(limits_from=[], limit_headers=own).limits({"x-quota": "9", "x-left": "5"}) == (
        Reading(TOKENS, 9, 5, None, 86_400.0),
    )
    openai = {"x-ratelimit-limit-tokens": "9", "x-ratelimit-remaining-tokens": "5"}
    assert made(limits_from=["openai"]).limits(openai) == (Reading(TOKENS, 9, 5),)


def test_capabilities_tell_what_may_be_repeated() -> None:
    operations = {
        "get": {"path": "/x"},
        "send": {"path": "/x", "method": "POST"},
        "safe": {"path": "/x", "method": "POST", "idempotent": True, "limits": {"rpm": 5}},
    }
    capabilities = made(operations=operations).capabilities
    assert capabilities.operations == {"get", "send", "safe"}
    assert capabilities.custom["idempotent"] == {"get", "safe"}
    assert capabilities.custom["limits"] == {"safe": (Limit(of="requests", amount=5, models=("safe",)),)}


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (401, False)])
async def test_health_is_an_operation(status: int, healthy: bool) -> None:
    async with RawProvider([response(b"{}", status)]) as provider:
        adapter = DeclarativeAdapter(base_url=provider.base_url, operations={"ping": {"path": "/ping"}}, health="ping")
        assert await adapter.health(PlainSecret()) is healthy
        await adapter.aclose()
    assert await made().health(PlainSecret())


def test_every_mistake_is_named_with_its_place() -> None:
    wrong: dict[str, object] = {
        "base_url": "http://api.example.com",
        "colour": "red",
        "auth": {"header": "X", "query": "k"},
        "read_s": -1,
        "health": "nothing",
        "headers": {"X": "a\r\nb"},
        "limits_from": ["moon"],
        "cost": {"per_request": "cheap", "path": "$["},
        "errors": [{"status": 429, "means": "sad"}],
        "operations": {
            "a": {"method": "FETCH", "path": "x?y=1", "params": 5, "answer": "xml", "encoding": "yaml", "wat": 1},
        },
    }
    with pytest.raises(InvalidConfigurationError) as caught:
        DeclarativeAdapter(wrong, where="providers.geo")
    said = caught.value.problems
    assert all(problem.startswith("providers.geo") for problem in said)
    hints = [
        "plain http",
        "colour",
        "write one of {header",
        "read_s",
        "nothing",
        "one line",
        "moon",
        "cheap",
        "$[",
        "sad",
    ]
    hints += ["FETCH", "parameters under params", "list of names", "xml", "yaml", "'wat'"]
    for hint in hints:
        assert any(hint in problem for problem in said), hint


def test_nothing_is_a_mistake_too() -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        DeclarativeAdapter({})
    assert len(caught.value.problems) == 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
WORDS = st.sampled_from(["auth", "operations", "errors", "cost", "limits_from", "limit_headers", "usage", "headers"])


@given(st.dictionaries(WORDS, JSON))
def test_any_settings_make_an_adapter_or_a_named_mistake(settings: dict[str, object]) -> None:
    try:
        adapter = DeclarativeAdapter({"base_url": "https://api.example.com", **settings})
    except InvalidConfigurationError as error:
        assert error.problems  # noqa: PT017
    else:
        assert adapter.capabilities.operations


async def test_the_key_is_nowhere_in_a_repr() -> None:
    adapter = made(auth={"query": "key"})
    call = Call(operation="geocode", model="", body={"q": "x"}, secret=PlainSecret(), timeout=5, request_id="r")
    outgoing = adapter.prepare(replace(call), streaming=False)
    assert KEY in outgoing.url
    assert KEY not in repr(outgoing)
    assert KEY not in repr(call)
    assert KEY not in json.dumps(str(adapter.plan))
    await adapter.aclose()
