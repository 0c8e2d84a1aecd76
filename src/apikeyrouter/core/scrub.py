"""Takes key material out of sentences that others wrote, before anybody can read, log or store them.

Providers quote the key they refuse, whole or masked ("Incorrect API key provided: sk-ab***yz"), and a few characters of
a key are a few too many. This errs on the side of taking out too much: a provider's sentence is a hint, not a record.
"""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "[hidden]"
MAX_MESSAGE: Final = 300

_LABELLED: Final = re.compile(
    r"(?i)((?:api[ _-]?key|apikey|token|secret|bearer|authorization|password|credential|key)"
    r"(?:\s+provided|\s+is|\s+was)?\s*[:=]\s*)[\"'`]?(?:bearer\s+)?[^\s\"'`,;)}\]]+[\"'`]?"
)
_BEARER: Final = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=*-]{6,}")
_WORD: Final = re.compile(r"[\w.~+/=*•·●…-]{3,}")
_MASK: Final = re.compile(r"\*{2}|[•·●]{2}|\w(?:\.{3}|…)\w")
_PREFIXED: Final = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|csk|fw|tgp|hf|pplx|AIza|ya29|AKIA|ASIA|ghp|glpat|r8|nvapi|key|co|or)[-_.]?(?=[\w.-]*\d)[\w-]{16,}"
)
_RUN: Final = re.compile(r"[\w+/=-]{16,}")
_SEGMENT: Final = re.compile(r"[-_]")
_SPACE: Final = re.compile(r"\s+")


def scrub(text: str, secret: str | None = None) -> str:
    """The text without anything that looks like a key; `secret`, where known, goes wherever it appears."""
    clean = text.replace(secret, HIDDEN) if secret else text
    clean = _LABELLED.sub(rf"\1{HIDDEN}", clean)
    clean = _BEARER.sub(rf"\1 {HIDDEN}", clean)
    clean = _WORD.sub(_unless_masked, clean)
    clean = _PREFIXED.sub(HIDDEN, clean)
    return _RUN.sub(_unless_a_name, clean)


def sentence(text: str, secret: str | None = None) -> str:
    """One line of at most 300 characters, scrubbed."""
    line = _SPACE.sub(" ", _beginning(text)).strip()
    clean = scrub("".join(c for c in line if c.isprintable()), secret)
    return clean if len(clean) <= MAX_MESSAGE else clean[: MAX_MESSAGE - 1].rstrip() + "…"


def _beginning(text: str) -> str:
    """Enough to cut a sentence from, without a last word that the cut itself has torn (it may be half a key)."""
    if len(text) <= 8 * MAX_MESSAGE:
        return text
    return text[: 8 * MAX_MESSAGE].rpartition(" ")[0]


def _unless_masked(found: re.Match[str]) -> str:
    return HIDDEN if _MASK.search(found.group()) else found.group()


def _unless_a_name(found: re.Match[str]) -> str:
    """Model names and error codes survive: their pieces are short, or one plain word."""
    return HIDDEN if any(_random(piece) for piece in _SEGMENT.split(found.group())) else found.group()


def _random(piece: str) -> bool:
    if len(piece) < 12:
        return False
    digits = any(c.isdigit() for c in piece)
    letters = any(c.isalpha() for c in piece)
    return (digits and letters) or (letters and len(piece) >= 20 and not _one_case(piece))


def _one_case(word: str) -> bool:
    return word in (word.lower(), word.upper(), word.capitalize())
