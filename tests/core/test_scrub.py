"""No sentence of a provider lets any part of a key through, and ordinary words survive."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.core.scrub import HIDDEN, MAX_MESSAGE, scrub, sentence

SECRET = "sk-proj-Ab12Cd34Ef56Gh78Ij90"


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: sk-ab***yz12. You can find your key at https://platform.openai.com.",
        "Incorrect API key provided: sk-proj-****************************yz12.",
        "Invalid key sk-ab...yz12 was given",
        "Incorrect API key provided: ab•••yz12",
        "api_key=sk-abyz12",
        'Authorization: "Bearer sk-abyz12"',
        "used Bearer abyz12yz12 here",
        "key AIzaSyA1abyz12B2c3D4e5F6g7H8i9J0kLmNoPqR was rejected",
        "gsk_abyz12cd34ef56gh78ij90 is unknown",
        "the token abyz12cd34ef56gh is bad",
        "uuid 0f8fad5b-d9cb-469f-a165-abyz12867728 unknown",
    ],
)
def test_pieces_of_keys_go(text: str) -> None:
    clean = scrub(text)
    assert "yz12" not in clean
    assert HIDDEN in clean


@pytest.mark.parametrize(
    "text",
    [
        "Rate limit reached for gpt-4o-mini-2024-07-18 on tokens per min (TPM): Limit 10000, Used 9000, Requested 20.",
        "The model `claude-haiku-4-5-20251001` does not exist",
        "API key not valid. Please pass a valid API key.",
        "Quota exceeded for metric: generativelanguage.googleapis.com/generate_content_free_tier_requests, limit: 0",
        "context_length_exceeded",
        "meta-llama/Llama-3.3-70B-Instruct-Turbo is overloaded",
        "You exceeded your current quota... check your plan",
    ],
)
def test_ordinary_sentences_survive(text: str) -> None:
    assert scrub(text) == text


def test_the_known_key_goes_wherever_it_stands() -> None:
    assert scrub("pass: hunter2hunter", "hunter2hunter") == f"pass: {HIDDEN}"


def test_a_sentence_is_one_short_line() -> None:
    said = sentence("a\n\tb\x00\x1b[31m" + " word" * 200)
    assert said.startswith("a b[31m word")
    assert len(said) == MAX_MESSAGE
    assert said.endswith("…")
    assert said.isprintable()


@pytest.mark.parametrize("piece", ["a", "a.", "*", "a*", "Bearer ", "key:", "sk-", "sk-a1", "api key provided ", "x-_"])
def test_no_text_takes_long(piece: str) -> None:
    """A hostile provider's sentence must not stop the loop: work grows with the length, not with its square."""
    started = time.process_time()
    sentence(piece * (4000 // len(piece)) + " end")
    assert time.process_time() - started < 0.05


@given(st.text(max_size=60), st.text(max_size=60), st.sampled_from([SECRET, "0123456789abcdef0123456789abcdef"]))
def test_a_key_between_any_words_goes(before: str, after: str, secret: str) -> None:
    clean = sentence(f"{before}{secret}{after}", secret)
    assert secret not in clean
