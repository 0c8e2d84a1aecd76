"""Quotas and owners as refusals speak of them; the sentences are recorded ones, with names replaced."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.core.classify import ErrorTable, classify
from apikeyrouter.core.failure import Kind
from apikeyrouter.core.jsonpath import parse
from apikeyrouter.core.model import INPUT, OUTPUT, REQUESTS, TOKENS, Reading
from apikeyrouter.core.spoken import (
    NOTHING_SPOKEN,
    OwnerRule,
    QuotaObjects,
    SpokenTable,
    carried,
    owner,
    quotas,
)

NOW = 1_795_435_200.0
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


@pytest.mark.parametrize(
    ("sentence", "readings", "requested"),
    [
        (
            "Rate limit reached in organization org-x on tokens per min (TPM): Limit 10000, Used 9000, Requested 2000.",
            [Reading(TOKENS, 10_000, 1_000, None, MINUTE)],
            [2_000],
        ),
        (
            "on tokens per day (TPD): Limit 100000, Used 99736, Requested 1400. Please try again in 16m20.5s.",
            [Reading(TOKENS, 100_000, 264, None, DAY)],
            [1_400],
        ),
        (
            "... on requests per day (RPD): Limit 200, Used 200, Requested 1.",
            [Reading(REQUESTS, 200, 0, None, DAY)],
            [1],
        ),
        (
            "on requests per min. Limit: 3 / min. Please try again in 20s.",
            [Reading(REQUESTS, 3, None, None, MINUTE)],
            [None],
        ),
        (
            "on tokens per min. Limit: 90,000 / min. Current: 88,812 / min.",
            [Reading(TOKENS, 90_000, 1_188, None, MINUTE)],
            [None],
        ),
        ("on tokens per min: Limit 30000, Used 40000.", [Reading(TOKENS, 30_000, 0, None, MINUTE)], [None]),
        (
            "tokens per min (TPM): Limit 30000, Requested 342389.",
            [Reading(TOKENS, 30_000, None, None, MINUTE)],
            [342_389],
        ),
        ("on requests per hour: Limit 0", [Reading(REQUESTS, 0, None, None, HOUR)], [None]),
        ("input tokens per minute: Limit 500, Used 1", [Reading(INPUT, 500, 499, None, MINUTE)], [None]),
        ("output-tokens per minute (OTPM): Limit 8, Used 1", [Reading(OUTPUT, 8, 7, None, MINUTE)], [None]),
        (
            "limit is - Requests per Second (actual/limit): 2/2, Tokens per Minute (actual/limit): 65605/16000.",
            [Reading(REQUESTS, 2, 0, None, 1.0), Reading(TOKENS, 16_000, 0, None, MINUTE)],
            [None, None],
        ),
        ("on : Limit 500000, Used 500370, Requested 252.", [], []),
        ("on input-images per min: Limit 4000, Used 4000.", [], []),
        ("on tokens per fortnight: Limit 4000, Used 1", [], []),
        ("tokens per min (TPM): Limit " + "9" * 40, [], []),
        ("", [], []),
    ],
)
def test_a_sentence_with_numbers_is_a_reading(
    sentence: str, readings: list[Reading], requested: list[int | None]
) -> None:
    found = quotas(NOTHING_SPOKEN, sentence, None)
    assert [each.reading for each in found] == readings
    assert [each.requested for each in found] == requested


@pytest.mark.parametrize(
    ("sentence", "seconds"),
    [
        ("tokens per min (TPM): Limit 10000, Used 9000, Requested 2000", 6.0),
        ("tokens per min (TPM): Limit 10000, Used 5000, Requested 2000", 0.0),
        ("tokens per day (TPD): Limit 86400, Used 86400, Requested 10", 10.0),
        ("tokens per min (TPM): Limit 10000, Used 9000", None),
        ("tokens per min (TPM): Limit 10000, Requested 20000", None),
        ("tokens per min (TPM): Limit 10000, Used 0, Requested 20000", None),
        ("tokens per min (TPM): Limit 0, Used 0, Requested 2", None),
    ],
)
def test_what_was_requested_flows_back_at_the_limits_rate(sentence: str, seconds: float | None) -> None:
    (found,) = quotas(NOTHING_SPOKEN, sentence, None)
    assert found.wait_s == seconds


VIOLATIONS = SpokenTable(
    quotas=(QuotaObjects(parse("$.error.details[*].violations[*]"), "quotaValue", ("quotaId", "quotaMetric")),),
    owners=(OwnerRule(message=re.compile(r"in organization (org-\w+)")), OwnerRule(path=parse("$.project"))),
    headers=(parse("$.error.metadata.headers"),),
)


@pytest.mark.parametrize(
    ("violation", "reading"),
    [
        (
            {"quotaId": "GenerateRequestsPerMinutePerProject", "quotaValue": "10"},
            Reading(REQUESTS, 10, 0, None, MINUTE),
        ),
        (
            {"quotaId": "ContentInputTokensPerModelPerMinute", "quotaValue": 250_000},
            Reading(INPUT, 250_000, 0, None, MINUTE),
        ),
        (
            {"quotaId": "X-PerHour", "quotaMetric": "a/b_free_tier_input_token_count", "quotaValue": "7"},
            Reading(INPUT, 7, 0, None, HOUR),
        ),
        ({"quotaId": "TokensPerMinute", "quotaValue": "7"}, Reading(TOKENS, 7, 0, None, MINUTE)),
        ({"quotaId": "GenerateRequestsPerDayPerProject", "quotaValue": "20"}, None),
        ({"quotaId": "GenerateRequestsPerMinute"}, None),
        ({"quotaId": "GenerateRequestsPerMinute", "quotaValue": "many"}, None),
        ({"quotaId": ["PerMinute"], "quotaValue": "1"}, None),
        ({}, None),
    ],
)
def test_an_object_that_describes_a_violated_quota_is_a_reading(
    violation: dict[str, object], reading: Reading | None
) -> None:
    body = {"error": {"details": [{"violations": [violation]}]}}
    assert [each.reading for each in quotas(VIOLATIONS, "", body)] == ([] if reading is None else [reading])


@pytest.mark.parametrize(
    ("sentence", "body", "named"),
    [
        ("Rate limit reached in organization org-x1 on", {"project": "projects/42"}, ("org-x1", "projects/42")),
        ("in organization org-x1", {}, ("org-x1", "")),
        ("no", {"project": "projects/42"}, ("", "projects/42")),
        ("no", {"project": 42}, ()),
        ("no", {"project": "a b"}, ()),
        ("no", {"project": "x" * 500}, ()),
        ("no", None, ()),
    ],
)
def test_an_owner_is_every_part_that_a_refusal_names(sentence: str, body: object, named: tuple[str, ...]) -> None:
    assert owner(VIOLATIONS, sentence, body) == named


def test_headers_inside_a_body_are_plain_values_in_lower_case() -> None:
    inner = {"X-RateLimit-Limit": "20", "X-RateLimit-Reset": 1_758_850_000_000, "X-Odd": ["a"], "X-True": True}
    body = {"error": {"metadata": {"headers": inner}}}
    assert carried(VIOLATIONS, body) == {"x-ratelimit-limit": "20", "x-ratelimit-reset": "1758850000000"}
    assert carried(VIOLATIONS, {"error": {"metadata": {"headers": "none"}}}) == {}


# -- in a failure ----------------------------------------------------------------------------------------------------

TABLE = ErrorTable(messages=(parse("$.error.message"),), spoken=VIOLATIONS)
SAID = "in organization org-x on tokens per min (TPM): Limit 10000, Used 9000, Requested 2000."


def test_a_refusal_carries_what_it_states() -> None:
    failure = classify(TABLE, 429, {}, {"error": {"message": SAID}}, now=NOW)
    assert (failure.kind, failure.owner) == (Kind.RATE_LIMITED, ("org-x", ""))
    assert failure.readings == (Reading(TOKENS, 10_000, 1_000, None, MINUTE),)
    assert failure.retry_after == 6.0


@pytest.mark.parametrize(
    ("headers", "sentence", "seconds"),
    [
        ({"retry-after": "9"}, f"{SAID} Please try again in 5s.", 9.0),
        ({}, f"{SAID} Please try again in 5s.", 5.0),
        ({}, SAID, 6.0),
        ({}, "no numbers", 42.0),
    ],
)
def test_numbers_come_after_spoken_waits_and_before_resets(
    headers: dict[str, str], sentence: str, seconds: float
) -> None:
    readings = (Reading(REQUESTS, 10, 0, 42.0),)
    failure = classify(TABLE, 429, headers, {"error": {"message": sentence}}, now=NOW, readings=readings)
    assert failure.retry_after == seconds


@pytest.mark.parametrize(
    ("sentence", "readings"),
    [
        ("tokens per min (TPM): Limit 0, Used 0, Requested 5", ()),
        ("no", (Reading(REQUESTS, 0, 0, None, MINUTE),)),
        ("no", (Reading(TOKENS, 0),)),
    ],
)
def test_a_limit_of_nothing_is_no_throttling(sentence: str, readings: tuple[Reading, ...]) -> None:
    body = {"error": {"message": sentence}}
    assert classify(TABLE, 429, {}, body, now=NOW, readings=readings).kind is Kind.NOT_ON_PLAN
    assert classify(TABLE, 500, {}, body, now=NOW, readings=readings).kind is Kind.SERVER_ERROR


def test_other_failures_state_no_quota() -> None:
    assert classify(TABLE, 400, {}, {"error": {"message": SAID}}, now=NOW).readings == ()


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "details", "violations", "quotaValue", "quotaId", "project", "metadata", "headers"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
_WORDS = st.lists(
    st.sampled_from(["tokens", "requests", " per ", "min", "day", "(TPM)", ": ", "Limit ", "Used ", "Requested ",
                     "(actual/limit): ", "12", "9,999", "/", ", ", "0", "in organization org-", "x"]), max_size=14,
).map("".join)  # fmt: skip


@given(_WORDS | st.text(max_size=60), _ANY)
def test_nothing_that_is_said_raises(sentence: str, body: object) -> None:
    for each in quotas(VIOLATIONS, sentence, body):
        r = each.reading
        assert r.limit is not None
        assert r.remaining is None or 0 <= r.remaining <= r.limit
        assert each.wait_s is None or each.wait_s >= 0.0
    assert all(isinstance(part, str) for part in owner(VIOLATIONS, sentence, body))
    carried(VIOLATIONS, body)
