"""How many tokens a request will take, known before it is sent and without a tokenizer.

Counting exactly costs half a millisecond and a download; four characters per token is wrong by a quarter. What is right
is the ratio this model and route have shown so far: every answer says how many tokens its characters became, and a
safety factor learned beside it (adaptive conformal inference, Gibbs and Candes 2021, in log space) holds the 90th
percentile. Output lengths are learned the same way. Shapes of bodies are read here and nowhere else in the core.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Final

from apikeyrouter.core.model import NO_NAMES, Usage
from apikeyrouter.errors import InvalidRequestError

MESSAGE_TOKENS: Final = 4
"""Role and separators of a chat message (OpenAI's published counting recipe uses 3 to 4)."""
REPLY_TOKENS: Final = 3
TOOL_TOKENS: Final = 12
IMAGE_TOKENS: Final = 1100
"""A high-detail image of common size; from 85 (low detail) to 1,700."""
AUDIO_CHARS_PER_TOKEN: Final = 1400

COLD_RATIO: Final = 4.0
MAX_ENTRIES: Final = 4096


@dataclass(slots=True)
class Measure:
    """What a body weighs: characters of text, tokens that do not depend on text, and what it asks for."""

    chars: int = 0
    fixed: int = 0
    images: int = 0
    max_output_tokens: int | None = None
    features: frozenset[str] = NO_NAMES
    wide: int = 0


def measure(operation: str, body: Mapping[str, object]) -> Measure:
    """The measure of a body; raises InvalidRequestError for one that no provider can take."""
    if operation in ("chat", "messages"):
        return _chat(body)
    if operation == "completion":
        return _simple(body, "prompt")
    if operation == "embeddings":
        return _simple(body, "input", output=False)
    if operation == "responses":
        return _simple(body, "input")
    return Measure()


def _chat(body: Mapping[str, object]) -> Measure:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequestError("The body needs messages: a list with at least one message.")
    return Measure(
        chars=_chars(messages) + _chars(body.get("tools")) + _chars(body.get("system")),
        fixed=REPLY_TOKENS + MESSAGE_TOKENS * len(messages),
        max_output_tokens=_cap(body),
    )


def _simple(body: Mapping[str, object], name: str, *, output: bool = True) -> Measure:
    if not body.get(name):
        raise InvalidRequestError(f"The body needs {name}.")
    return Measure(chars=_chars(body[name]), max_output_tokens=_cap(body) if output else 0)


def _chars(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(_chars(v) for v in value.values())
    if isinstance(value, list):
        return sum(_chars(v) for v in value)
    return 0


def _cap(body: Mapping[str, object]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"):
        cap = body.get(name)
        if cap is None:
            continue
        if not isinstance(cap, int) or isinstance(cap, bool) or cap < 0:
            raise InvalidRequestError(f"{name} is {cap!r}; it must be a whole number of tokens, 0 or more.")
        n = body.get("n")
        return cap * (n if isinstance(n, int) and n > 1 else 1)
    return None


class TokenModel:
    """Learned ratios and output lengths by model and route."""

    __slots__ = ("_outputs", "_ratios")

    def __init__(self) -> None:
        self._ratios: dict[tuple[str, str], float] = {}
        self._outputs: dict[tuple[str, str], tuple[float, float, int]] = {}

    def estimate(self, model: str, measure: Measure, route: str = "") -> tuple[int, int, float]:
        """Expected input tokens, what to hold (90th percentile), and confidence from 0 to 1."""
        ratio = self._ratios.get((model, route))
        if ratio is None:
            expected = measure.fixed + measure.chars / COLD_RATIO
            return int(expected) + 1, int(expected * 1.3) + 1, 0.5
        expected = measure.fixed + measure.chars / ratio
        return int(expected) + 1, int(expected * 1.15) + 1, 0.9

    def output(self, model: str, route: str, cap: int | None) -> tuple[int, int, int, float]:
        """Mean, 90th and 99th percentile of output tokens, and their variance; `cap` bounds them all."""
        mean, var, _ = self._outputs.get((model, route), (5.0, 1.0, 0))
        values = (exp(mean + var / 2), exp(mean + 1.28 * sqrt(var)), exp(mean + 2.33 * sqrt(var)))
        top = cap if cap is not None else 1 << 40
        m, p90, p99 = (min(int(v) + 1, top) for v in values)
        return m, p90, p99, (exp(var) - 1) * values[0] ** 2

    def learn(self, model: str, route: str, measure: Measure, usage: Usage) -> None:
        """Take in what a request really used."""
        key = (model, route)
        text = usage.input_tokens - measure.fixed
        if measure.chars and text > 0:
            ratio = measure.chars / text
            self._ratios[key] = self._ratios.get(key, ratio) * 0.9 + ratio * 0.1
        if usage.output_tokens:
            mean, var, n = self._outputs.get(key, (log(usage.output_tokens), 1.0, 0))
            step = 1 / min(n + 2, 50)
            delta = log(usage.output_tokens) - mean
            self._outputs[key] = (mean + step * delta, (1 - step) * (var + step * delta * delta), n + 1)
