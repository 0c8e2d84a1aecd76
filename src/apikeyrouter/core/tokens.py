"""How many tokens a request will take, known before it is sent and without a tokenizer.

Counting exactly costs half a millisecond and a download; four characters to a token is wrong by a quarter. What is
right is the factor this model and route have shown so far: every answer says how many tokens its characters became. A
safety factor is learned beside it so that nine requests in ten stay within what was held (adaptive conformal inference,
Gibbs and Candes 2021, stepped in log space), and lengths of answers are learned the same way. What a body holds is read
in `measure`; money is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Final, TypeVar

from apikeyrouter.core.measure import Measure, measure
from apikeyrouter.core.model import Usage

__all__ = ["Accuracy", "Measure", "TokenModel", "measure"]

NARROW_CHARS: Final = 4.0
WIDE_CHARS: Final = 1.5
"""Characters to a token before anything is learned: 4.1 in English, 4.5 in Python, 3.2 in JSON; 0.9 to 2.4 in Chinese,
Japanese and Korean (measured with the o200k vocabulary)."""

MEMORY: Final = 0.98
"""What an old request counts for after each new one: the last fifty decide."""
TRUSTED: Final = 3
"""Requests after which a model's own factor is used instead of a more general one."""

COLD_SAFETY: Final = 0.22
"""Log of the safety factor before anything is learned: 25 %."""
SAFETY_STEP: Final = 0.04
MAX_SAFETY: Final = 1.4

COLD_LOG_MEAN, COLD_LOG_VARIANCE = log(200.0), 1.2
"""Answers before any was seen: half of them under 200 tokens, one in a hundred above 2,500."""
Z90, Z99 = 1.2816, 2.3263
STEP90, STEP99 = 0.08, 0.3

MOST: Final = 1 << 20
"""Output tokens no answer exceeds, where nothing bounds it."""

MAX_ENTRIES: Final = 4096
MAX_NAME: Final = 256
"""Names come from callers: no more entries than this, none for a longer name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """How estimates of a model and route compared with what was used, the last fifty counting most.

    `error` is the mean of |used - expected| / used, `bias` the mean of (expected - used) / used, `covered` the share of
    requests within what was held.
    """

    requests: int
    error: float
    bias: float
    covered: float


class _Input:
    """Factor from weight to tokens, and the safety factor on top."""

    __slots__ = ("bias", "covered", "error", "margin", "n", "safety", "tokens", "weight")

    def __init__(self) -> None:
        self.n = 0
        self.tokens = self.weight = 0.0
        self.safety = COLD_SAFETY
        self.margin = exp(COLD_SAFETY)
        self.error, self.bias, self.covered = 0.3, 0.0, 1.0

    def expected(self, weight: float, fixed: int) -> float:
        return fixed + weight * (self.tokens / self.weight if self.weight else 1.0)

    def learn(self, weight: float, fixed: int, used: int, *, only_text: bool) -> None:
        expected = self.expected(weight, fixed)
        missed = used > expected * self.margin
        self.n += 1
        step = max(1 - MEMORY, 1 / self.n)
        self.error += step * (abs(used - expected) / used - self.error)
        self.bias += step * ((expected - used) / used - self.bias)
        self.covered += step * ((not missed) - self.covered)
        self.safety = min(MAX_SAFETY, max(0.0, self.safety + SAFETY_STEP * (missed - 0.1)))
        self.margin = exp(self.safety)
        text = used - fixed
        if only_text and weight > 0 and text > 0:
            self.tokens = self.tokens * MEMORY + text
            self.weight = self.weight * MEMORY + weight


class _Output:
    """Log-normal lengths of answers, with quantiles corrected by what was seen of them."""

    __slots__ = ("k90", "k99", "mean", "n", "variance")

    def __init__(self) -> None:
        self.n, self.mean, self.variance, self.k90, self.k99 = 0, COLD_LOG_MEAN, COLD_LOG_VARIANCE, Z90, Z99

    def learn(self, tokens: int, cut: bool) -> None:
        """Take in an answer; one that was `cut` at its bound would have been longer, so it misses both quantiles."""
        x, deviation = log(tokens), sqrt(self.variance)
        above = 9.0 if cut else (x - self.mean) / deviation
        self.k90 = min(6.0, max(0.0, self.k90 + STEP90 * ((above > self.k90) - 0.1)))
        self.k99 = min(8.0, max(self.k90, self.k99 + STEP99 * ((above > self.k99) - 0.01)))
        self.n += 1
        step = max(1 - MEMORY, 1 / (self.n + 1))
        delta = x - self.mean
        self.mean += step * delta
        self.variance = max(0.01, (1 - step) * (self.variance + step * delta * delta))


Entry = TypeVar("Entry", _Input, _Output)


class TokenModel:
    """What was learned about tokens, by model and route. A few microseconds a call, a few thousand entries at most."""

    __slots__ = ("_inputs", "_outputs")

    def __init__(self) -> None:
        self._inputs: dict[tuple[str, str], _Input] = {}
        self._outputs: dict[tuple[str, str], _Output] = {}

    def estimate(self, model: str, measure: Measure, route: str = "") -> tuple[int, int, float]:
        """Expected input tokens, what to hold so that nine in ten stay within, and confidence from 0 to 1."""
        weight = _weight(measure)
        known = _best(self._inputs, model, route) or _COLD_INPUT
        expected = known.expected(weight, measure.fixed)
        certainty = known.n / (known.n + 4.0)
        confidence = certainty * max(0.0, 1.0 - known.error) + (1.0 - certainty) * 0.3
        return int(expected + 0.5), self.hold(model, measure, route), confidence

    def hold(self, model: str, measure: Measure, route: str = "") -> int:
        """Of an estimate only what to hold: the decision needs no more."""
        known = _best(self._inputs, model, route) or _COLD_INPUT
        return int(known.expected(_weight(measure), measure.fixed) * known.margin) + 1

    def output(self, model: str, route: str, cap: int | None) -> tuple[int, int, int, float]:
        """Mean, 90th and 99th percentile of output tokens and their variance; `cap` bounds the three."""
        if cap == 0:
            return 0, 0, 0, 0.0
        known = _best(self._outputs, model, route) or _COLD_OUTPUT
        deviation = sqrt(known.variance)
        mean = exp(min(known.mean + known.variance / 2, 14.0))
        p90, p99 = exp(known.mean + known.k90 * deviation), exp(known.mean + known.k99 * deviation)
        variance = (exp(min(known.variance, 8.0)) - 1.0) * mean * mean
        bound = MOST if cap is None else cap
        if mean > bound:
            variance *= (bound / mean) ** 2
        return min(int(mean) + 1, bound), min(int(p90) + 1, bound), min(int(p99) + 1, bound), variance

    def learn(self, model: str, route: str, measure: Measure, usage: Usage) -> None:
        """Take in what a request really used; zeros teach nothing."""
        if len(model) + len(route) > MAX_NAME:
            return
        keys = _keys(model, route)
        if usage.input_tokens > 0:
            weight = _weight(measure)
            for key in keys:
                _entry(self._inputs, key, _Input).learn(
                    weight, measure.fixed, usage.input_tokens, only_text=not measure.images
                )
        if usage.output_tokens > 0:
            cap = measure.max_output_tokens
            cut = cap is not None and usage.output_tokens >= cap
            for key in keys:
                _entry(self._outputs, key, _Output).learn(usage.output_tokens, cut)

    def accuracy(self, model: str, route: str = "") -> Accuracy | None:
        """How estimates for a model and route compared with what was used, or None where none was."""
        known = self._inputs.get((model, route))
        if known is None:
            return None
        return Accuracy(requests=known.n, error=known.error, bias=known.bias, covered=known.covered)

    def __len__(self) -> int:
        return len(self._inputs) + len(self._outputs)


_COLD_INPUT: Final = _Input()
_COLD_OUTPUT: Final = _Output()


def _weight(measure: Measure) -> float:
    """Tokens the text would have in general."""
    return (measure.chars - measure.wide) / NARROW_CHARS + measure.wide / WIDE_CHARS


def _keys(model: str, route: str) -> tuple[tuple[str, str], ...]:
    """From the most particular to the most general."""
    return ((model, route), (model, ""), ("", "")) if route else ((model, ""), ("", ""))


def _best(entries: Mapping[tuple[str, str], Entry], model: str, route: str) -> Entry | None:
    """The most particular entry that has seen enough."""
    known = entries.get((model, route))
    if known is not None and known.n >= TRUSTED:
        return known
    for key in ((model, ""), ("", "")):
        known = entries.get(key)
        if known is not None and known.n >= TRUSTED:
            return known
    return None


def _entry(entries: dict[tuple[str, str], Entry], key: tuple[str, str], new: Callable[[], Entry]) -> Entry:
    """The entry, made the newest; the one unused longest leaves when there are too many."""
    known = entries.pop(key, None)
    if known is None:
        known = new()
        if len(entries) >= MAX_ENTRIES:
            del entries[next(iter(entries))]
    entries[key] = known
    return known
