"""The shipped tables are sound: sourced, dated, without rules that hide each other; and mistakes in one are named."""

from __future__ import annotations

import pytest

from apikeyrouter.adapters.dialect import dialect, dialect_for, names, parse_dialect
from apikeyrouter.errors import InvalidConfigurationError


@pytest.mark.parametrize("name", names())
def test_every_table_has_a_source_and_a_date(name: str) -> None:
    speech = dialect(name)
    assert speech.name == name
    assert speech.sources
    assert speech.date >= "2026-01-01"
    assert speech.base_url is None or speech.base_url.startswith("https://")


@pytest.mark.parametrize("name", names())
def test_no_rule_hides_a_more_exact_one(name: str) -> None:
    """A rule that asks for less must not stand before one that asks for the same and more."""
    rules = dialect(name).errors.rules
    for later, rule in enumerate(rules):
        for earlier in rules[:later]:
            same = (
                (not earlier.statuses or (rule.statuses and rule.statuses <= earlier.statuses))
                and (not earlier.codes or (rule.codes and rule.codes <= earlier.codes))
                and (earlier.message is None or earlier.message == rule.message)
                and (earlier.header is None or earlier.header == rule.header)
                and (earlier.body is None or earlier.body == rule.body)
            )
            assert not same or earlier.means is rule.means, (earlier, rule)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://mine.openai.azure.com", "azure"),
        ("https://us-central1-aiplatform.googleapis.com/v1", "vertex"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("http://127.0.0.1:8000/v1", "openai"),
        ("https://api.openai.com.evil.example/v1", "openai"),
        ("https://notgroq.com/v1", "openai"),
    ],
)
def test_the_address_tells_the_dialect(url: str, name: str) -> None:
    assert dialect_for(url, "openai").name == name


def test_every_mistake_of_a_table_is_named() -> None:
    table = {
        "schema": 1,
        "name": "x",
        "colour": "red",
        "errors": {
            "codes": ["$.[["],
            "owners": [{"path": "$.a", "message": "x"}, {"message": "no group"}],
            "quotas": [{"path": "$.a"}],
            "rules": [
                {"status": 999, "means": "sad"},
                {"means": "content"},
                {"status": 429, "means": "content", "message": "(", "until": "never", "zone": "Mars/Base"},
                {
                    "status": 429,
                    "means": "content",
                    "header": {},
                    "body": {"equals": 1, "matches": "x"},
                    "retry_after": "x",
                },
                "rule",
            ],
        },
        "limits": {"rows": [{"of": "apples"}]},
    }
    with pytest.raises(InvalidConfigurationError) as caught:
        parse_dialect(table, "x")
    said = "\n".join(caught.value.problems)
    for hint in (
        "colour",
        "$.[[",
        "999",
        "sad",
        "without any condition",
        "regular expression",
        "never",
        "Mars/Base",
        "header condition",
        "body condition",
        "no time",
        "a rule is a mapping",
        "apples",
        "an owner is",
        "has one group",
        "limit: quotaValue",
    ):
        assert hint in said, hint


def test_an_unknown_dialect_is_named_with_the_known_ones() -> None:
    with pytest.raises(InvalidConfigurationError, match="use one of anthropic, azure"):
        dialect("../../etc/passwd")
