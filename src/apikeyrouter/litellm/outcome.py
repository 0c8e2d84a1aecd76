"""How a LiteLLM call ended, in the engine's words: usage, provider headers, failure.

LiteLLM has several places for each: an answer's usage by dialect, headers with and without its own prefix, errors of
its own classes with the provider's headers and body attached. Everything that reads them is here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Self

from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.model import Usage

PREFIX: Final = "llm_provider-"
_NONE: Final[Mapping[str, Any]] = {}
_CHARS_PER_TOKEN: Final = 4
_KINDS: Final = {
    "Timeout": Kind.TIMEOUT,
    "APIConnectionError": Kind.NETWORK,
    "ContextWindowExceededError": Kind.TOO_LONG,
    "ContentPolicyViolationError": Kind.CONTENT,
}
"""LiteLLM's classes that know more than their status."""
_NEVER_SENT: Final = frozenset({"UnsupportedParamsError", "BudgetExceededError", "RejectedRequestError"})
_DENIED: Final = frozenset({"HTTPException", "GuardrailRaisedException", "BlockedPiiEntityError"})
"""What guardrails and other callbacks raise, with whatever status: no word of the provider's about a key."""
_MAYBE_BILLED: Final = frozenset({Kind.TIMEOUT, Kind.NETWORK})


def usage_of(answer: Any) -> Usage | None:
    """What an answer says was used, however its dialect words it; None when it says nothing."""
    told = answer.get("usage") if isinstance(answer, Mapping) else getattr(answer, "usage", None)
    if told is None:
        return None
    if _get(told, "prompt_tokens") is None and _get(told, "input_tokens") is not None:
        return _other_usage(told, whole=not isinstance(answer, Mapping))
    before, after = _get(told, "prompt_tokens_details"), _get(told, "completion_tokens_details")
    usage = Usage(
        input_tokens=_int(_get(told, "prompt_tokens")),
        output_tokens=_int(_get(told, "completion_tokens")),
        cache_read_tokens=_int(_get(before, "cached_tokens")),
        cache_write_tokens=_int(_get(told, "cache_creation_input_tokens")),
        reasoning_tokens=_int(_get(after, "reasoning_tokens")),
        audio_input_tokens=_int(_get(before, "audio_tokens")),
        audio_output_tokens=_int(_get(after, "audio_tokens")),
    )
    return usage if usage.total_tokens else None


def _other_usage(told: Any, *, whole: bool) -> Usage | None:
    """Responses count cached tokens within the input, Anthropic beside it."""
    read = _int(_get(told, "cache_read_input_tokens"))
    written = _int(_get(told, "cache_creation_input_tokens"))
    cached = read or _int(_get(_get(told, "input_tokens_details"), "cached_tokens"))
    usage = Usage(
        input_tokens=_int(_get(told, "input_tokens")) + (0 if whole else read + written),
        output_tokens=_int(_get(told, "output_tokens")),
        cache_read_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=_int(_get(_get(told, "output_tokens_details"), "reasoning_tokens")),
    )
    return usage if usage.total_tokens else None


def logged_usage(record: Mapping[str, Any], answer: Any) -> Usage | None:
    """Usage at the end of a call as LiteLLM logs it: the answer's own, else the record's sums."""
    own = usage_of(answer)
    if own is not None:
        return own
    sums = record.get("standard_logging_object") or _NONE
    usage = Usage(
        input_tokens=_int(sums.get("prompt_tokens")),
        output_tokens=_int(sums.get("completion_tokens")),
        cost_reported=_money(sums.get("response_cost")),
    )
    return usage if usage.total_tokens else None


def counted_usage(answer: Any, input_tokens: int) -> Usage | None:
    """Usage of a stream whose provider told none: the text counted, beside what was estimated for the input."""
    choices = getattr(answer, "choices", None) or ()
    texts = [_get(_get(choice, "message"), "content") or _get(choice, "text") or "" for choice in choices]
    letters = sum(len(text) for text in texts if isinstance(text, str))
    if not letters:
        return None
    return Usage(input_tokens=input_tokens, output_tokens=-(-letters // _CHARS_PER_TOKEN))


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of a call as LiteLLM took them, None where it did not; its records come later than its answers."""

    latency_s: float | None = None
    first_byte_s: float | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any], start: Any, end: Any) -> Self:
        """From a log record: whole, and for streams to the first piece."""
        first = record.get("completion_start_time") if record.get("stream") else None
        return cls(_seconds(start, end), _seconds(start, first))


NO_TIMES: Final = Times()


def _seconds(start: Any, end: Any) -> float | None:
    if not isinstance(start, datetime) or not isinstance(end, datetime):
        return None
    return max(0.0, (end - start).total_seconds())


def headers_of(answer: Any) -> Mapping[str, str]:
    """The provider's headers of an answer, by their own names."""
    hidden = getattr(answer, "_hidden_params", None) or _NONE
    raw = hidden.get("headers")
    return _plain(raw) if raw else _provider_headers(hidden.get("additional_headers"))


def logged_headers(record: Mapping[str, Any]) -> Mapping[str, str]:
    """The same from a log record."""
    hidden = (record.get("standard_logging_object") or _NONE).get("hidden_params") or _NONE
    return _provider_headers(hidden.get("additional_headers"))


def _provider_headers(found: Any) -> Mapping[str, str]:
    """LiteLLM writes `llm_provider-` before each name; in records some are numbers under names of its own."""
    if not isinstance(found, Mapping):
        return _NONE
    plain = _plain(found)
    own = {name.removeprefix(PREFIX): value for name, value in plain.items() if name.startswith(PREFIX)}
    return own or plain


def error_headers(error: BaseException) -> Mapping[str, str]:
    """The provider's headers on an error."""
    found = getattr(error, "litellm_response_headers", None)
    if not found:
        found = getattr(getattr(error, "response", None), "headers", None) or getattr(error, "headers", None)
    return _plain(found) if found else _NONE


def _plain(found: Any) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in dict(found).items() if value is not None}


def failure_of(error: BaseException) -> Failure | int:
    """What an error says by its class; else its status, for the provider's dialect to classify with the body."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & _NEVER_SENT:
        return Failure(kind=Kind.INVALID, message=type(error).__name__, sent=False)
    if names & _DENIED:
        return Failure(kind=Kind.INVALID, message=type(error).__name__, billed=True)
    kind = next((_KINDS[name] for name in _KINDS if name in names), None)
    status = getattr(error, "status_code", None)
    if kind is not None:
        code = status if isinstance(status, int) else None
        return Failure(kind=kind, status=code, message=type(error).__name__, billed=kind in _MAYBE_BILLED)
    if isinstance(status, int) and 400 <= status < 600 and (status < 500 or error_headers(error)):
        return status
    # LiteLLM gives a broken connection the status 500; only an answer has headers.
    return Failure(kind=Kind.NETWORK, message=type(error).__name__, billed=True)


def error_body(error: BaseException) -> object:
    """The provider's body on an error, in the shape its dialect's table expects; else what its text quotes."""
    body = getattr(error, "body", None)
    if isinstance(body, Mapping):
        return body if "error" in body else {"error": dict(body)}
    text = str(getattr(error, "message", error))
    at = text.find("{")
    if at >= 0:
        try:
            quoted: object = json.JSONDecoder().raw_decode(text[at:])[0]
        except ValueError:
            return text
        return quoted
    return text


def _get(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)


def _int(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _money(value: Any) -> Decimal | None:
    """Dollars LiteLLM computed; 0 counts as unknown, because that is what it says for prices it does not know."""
    try:
        amount = Decimal(str(value)) if value else None
    except InvalidOperation:
        return None
    return amount if amount is not None and amount.is_finite() and amount > 0 else None


def reason(failure: Failure) -> str:
    """A failure in a word or two, for the history of its key."""
    return f"{failure.status or ''} {failure.code or failure.kind}".strip()
