"""How answers become failures: the body before the status, waits by their precedence, dates by their calendars."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.core.classify import BodyTest, ErrorTable, Rule, Until, classify, refused
from apikeyrouter.core.failure import BLAME, Blame, Failure, Kind
from apikeyrouter.core.jsonpath import parse
from apikeyrouter.core.model import REQUESTS, TOKENS, Reading

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC).timestamp()

TABLE = ErrorTable(
    rules=(
        Rule(means=Kind.NO_MONEY, codes=frozenset({"spend_limit"}), until=Until.MONTH),
        Rule(means=Kind.NO_MONEY, codes=frozenset({"broke"})),
        Rule(means=Kind.QUOTA_EXHAUSTED, codes=frozenset({"day"}), until=Until.DAY, zone="America/Los_Angeles"),
        Rule(means=Kind.QUOTA_EXHAUSTED, codes=frozenset({"dated"}), until=Until.MESSAGE),
        Rule(means=Kind.SLOW_DOWN, codes=frozenset({"slow"}), retry_after=7.0),
        Rule(means=Kind.NOT_ON_PLAN, statuses=frozenset({429}), header=("x-limit", re.compile("^0$"))),
        Rule(means=Kind.CONTENT, message=re.compile("(?i)flagged"), statuses=frozenset({200, 403})),
        Rule(
            means=Kind.RATE_LIMITED,
            statuses=frozenset({200}),
            body=BodyTest(path=parse("$.status"), equals="OVER_QUERY_LIMIT"),
        ),
        Rule(means=Kind.TIMEOUT, codes=frozenset({"slowpoke"}), billed=True),
    ),
    codes=(parse("$.error.code"), parse("$.error.type"), parse("$.error.details[*].reason")),
    messages=(parse("$.error.message"), parse("$.message")),
    waits=(parse("$.error.details[*].retryDelay"),),
)


def failed(status: int | None, error: object = None, **headers: str) -> Failure:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return classify(TABLE, status, named, {"error": error} if error is not None else None, now=NOW)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (None, Kind.NETWORK),
        (302, Kind.MALFORMED),
        (200, Kind.MALFORMED),
        (400, Kind.INVALID),
        (401, Kind.UNAUTHENTICATED),
        (402, Kind.NO_MONEY),
        (403, Kind.FORBIDDEN),
        (404, Kind.INVALID),
        (408, Kind.TIMEOUT),
        (413, Kind.TOO_LONG),
        (418, Kind.INVALID),
        (422, Kind.INVALID),
        (429, Kind.RATE_LIMITED),
        (500, Kind.SERVER_ERROR),
        (502, Kind.SERVER_ERROR),
        (503, Kind.OVERLOADED),
        (504, Kind.TIMEOUT),
        (529, Kind.OVERLOADED),
        (599, Kind.SERVER_ERROR),
    ],
)
def test_a_status_alone_means_what_http_says(status: int | None, kind: Kind) -> None:
    assert failed(status).kind is kind


@pytest.mark.parametrize("status", [200, 400, 401, 403, 429, 500])
def test_the_code_in_the_body_beats_the_status(status: int) -> None:
    assert failed(status, {"code": "broke"}).kind is Kind.NO_MONEY
    assert failed(status, {"type": "BROKE"}).code == "broke"
    assert failed(status, {"details": [{"@type": "x"}, {"reason": "broke"}]}).kind is Kind.NO_MONEY


def test_an_error_inside_a_success_is_read_by_its_own_status() -> None:
    assert failed(200, {"code": 429}).kind is Kind.RATE_LIMITED
    assert failed(200, {"code": 429}).status == 429
    assert failed(200, {"code": "502"}).kind is Kind.SERVER_ERROR
    assert failed(400, {"code": 429}).kind is Kind.INVALID


def test_rules_may_look_at_headers_messages_and_bodies() -> None:
    assert failed(429, x_limit="0").kind is Kind.NOT_ON_PLAN
    assert failed(429, x_limit="10").kind is Kind.RATE_LIMITED
    assert failed(403, {"message": "Your input was FLAGGED"}).kind is Kind.CONTENT
    assert failed(403, {"message": "no"}).kind is Kind.FORBIDDEN
    body = {"status": "OVER_QUERY_LIMIT"}
    assert classify(TABLE, 200, {}, body, now=NOW).kind is Kind.RATE_LIMITED


def test_only_rules_that_name_a_success_turn_it_into_a_failure() -> None:
    assert refused(TABLE, 200, {}, {"status": "OVER_QUERY_LIMIT"})
    assert not refused(TABLE, 200, {}, {"status": "OK"})
    assert not refused(TABLE, 200, {}, {"error": {"code": "broke"}})
    assert not refused(TABLE, 201, {}, {"status": "OVER_QUERY_LIMIT"})


READINGS = (Reading(REQUESTS, 10, 0, 42.0), Reading(TOKENS, 100, 5, 500.0))
SAID = {"message": "Please try again in 6m0s.", "details": [{"retryDelay": "38.2s"}]}


@pytest.mark.parametrize(
    ("headers", "error", "readings", "seconds"),
    [
        ({"retry-after-ms": "250", "retry-after": "9"}, SAID, READINGS, 0.25),
        ({"retry-after": "9"}, SAID, READINGS, 9.0),
        ({}, SAID, READINGS, 38.2),
        ({}, {"message": "Please try again in 6m0s."}, READINGS, 360.0),
        ({}, {"message": "Please retry after 6 seconds."}, (), 6.0),
        ({}, {"message": "Please retry in 45.5s."}, (), 45.5),
        ({}, {"message": "Try again in 250 milliseconds"}, (), 0.25),
        ({}, {"message": "available in 2 hours"}, (), 7200.0),
        ({}, {"message": "no hint"}, READINGS, 42.0),
        ({}, {"message": "no hint"}, (), None),
        ({"retry-after": "never"}, {"message": "no hint"}, (), None),
    ],
)
def test_the_wait_by_precedence(
    headers: dict[str, str], error: object, readings: tuple[Reading, ...], seconds: float | None
) -> None:
    failure = classify(TABLE, 429, headers, {"error": error}, now=NOW, readings=readings)
    assert failure.retry_after == pytest.approx(seconds)


def test_the_rules_own_wait_comes_last() -> None:
    assert failed(429, {"code": "slow"}).retry_after == 7.0
    assert failed(429, {"code": "slow"}, retry_after="2").retry_after == 2.0


def test_what_waiting_cannot_mend_has_no_wait() -> None:
    for status in (400, 401, 403, 413):
        assert failed(status, retry_after="30").retry_after is None


@pytest.mark.parametrize(
    ("error", "until"),
    [
        ({"code": "spend_limit"}, datetime(2026, 12, 1, tzinfo=UTC)),
        (
            {"code": "spend_limit", "message": "You will regain access on 2026-11-30 at 06:00 UTC."},
            datetime(2026, 11, 30, 6, tzinfo=UTC),
        ),
        ({"code": "day"}, datetime(2026, 11, 24, 8, tzinfo=UTC)),
        ({"code": "dated", "message": "Back on 2026-11-25"}, datetime(2026, 11, 25, tzinfo=UTC)),
    ],
)
def test_dates(error: object, until: datetime) -> None:
    failure = failed(429, error, retry_after="38")
    assert failure.until == until.timestamp()
    assert failure.retry_after == until.timestamp() - NOW


def test_midnight_follows_daylight_saving() -> None:
    spring = datetime(2026, 3, 8, 20, 0, tzinfo=UTC).timestamp()
    failure = classify(TABLE, 429, {}, {"error": {"code": "day"}}, now=spring)
    assert failure.until == datetime(2026, 3, 9, 7, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("message", ["Back on 2025-01-01", "Back on 2027-06-01", "Back on 2026-99-99", "Back soon"])
def test_a_date_that_cannot_be_is_no_date(message: str) -> None:
    assert failed(429, {"code": "dated", "message": message}).until is None


def test_timeouts_may_be_billed() -> None:
    assert failed(504).billed
    assert failed(400, {"code": "slowpoke"}).billed
    assert not failed(503).billed
    assert not failed(408).billed


def test_sentences_are_clean() -> None:
    assert failed(401, {"message": "Incorrect API key provided: sk-ab***yz"}).message.endswith("[hidden]")
    assert failed(500).message == "the provider answered 500 without a sentence"
    assert classify(TABLE, 502, {}, "<html>no</html>", now=NOW).message.startswith("the provider answered 502")
    assert classify(TABLE, 500, {}, "plain words", now=NOW).message == "plain words"
    known = classify(TABLE, 400, {}, {"message": "you sent hunter2"}, now=NOW, secret="hunter2")
    assert known.message == "you sent [hidden]"


def test_a_list_of_errors_is_read_by_its_first() -> None:
    assert classify(TABLE, 429, {}, [{"error": {"code": "broke"}}], now=NOW).kind is Kind.NO_MONEY


def test_every_kind_has_somebody_to_blame() -> None:
    assert set(BLAME) == set(Kind)
    assert Failure(kind=Kind.NO_MONEY).blame is Blame.ACCOUNT


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "code", "type", "message", "details", "reason", "retryDelay"]), inner
        )
    ),
    max_leaves=12,
)


@given(st.none() | st.integers(100, 599), st.dictionaries(st.text(max_size=12), st.text(max_size=30)), JSON)
def test_anything_is_classified(status: int | None, headers: dict[str, str], body: object) -> None:
    failure = classify(TABLE, status, headers, body, now=NOW)
    assert failure.kind in Kind
    assert failure.message.isprintable()
    assert failure.retry_after is None or failure.retry_after >= 0.0
