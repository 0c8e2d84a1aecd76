"""OpenAI's rate limit headers, its 429 and its other errors: texts and codes as they were recorded.

Sources: developers.openai.com guides "Rate limits" and "Error codes" (2026-09), recorded responses in public issues
(2023-2026). The headers follow reset = (limit - remaining) / rate.
"""

from __future__ import annotations

from collections.abc import Sequence

from apikeyrouter.simulator.clock import NS
from apikeyrouter.simulator.spec import Organisation
from apikeyrouter.simulator.state import Reading, Refusal
from apikeyrouter.simulator.window import NEVER
from apikeyrouter.simulator.wire import Answer, HeaderList, Json, json_answer
from apikeyrouter.simulator.world import Stamp

__all__ = ["error", "go_duration", "headers", "throttled"]

_MS = NS // 1000
_LONG_NAME = {
    "rpm": "requests per min (RPM)",
    "rpd": "requests per day (RPD)",
    "tpm": "tokens per min (TPM)",
    "tpd": "tokens per day (TPD)",
}
_SEE = "Visit https://platform.openai.com/account/rate-limits to learn more."


def go_duration(ns: int) -> str:
    """Nanoseconds as Go prints them, cut to milliseconds: 18ms, 4.096s, 6m0s, 1h2m3.5s."""
    ms = ns // _MS
    if ms < 1000:
        return f"{ms}ms"
    hours, ms = divmod(ms, 3_600_000)
    minutes, ms = divmod(ms, 60_000)
    seconds = f"{ms / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def headers(stamp: Stamp, readings: Sequence[Reading], organisation: Organisation | None, took_ms: int) -> HeaderList:
    """What every answer after authentication carries."""
    found: HeaderList = [(b"openai-organization", organisation.id.encode())] if organisation else []
    found += [
        (b"openai-processing-ms", b"%d" % took_ms),
        (b"openai-version", b"2020-10-01"),
        (b"x-request-id", stamp.request_id.encode()),
    ]
    for counts in ("requests", "tokens"):
        shown = [reading for reading in readings if reading.counts == counts]
        if shown:
            found += _six(counts.encode(), min(shown, key=lambda r: r.remaining))
    return found


def _six(counts: bytes, reading: Reading) -> HeaderList:
    """The window with the least left of those that count the same: limit, remaining, reset."""
    return [
        (b"x-ratelimit-limit-" + counts, b"%d" % reading.limit),
        (b"x-ratelimit-remaining-" + counts, b"%d" % reading.remaining),
        (b"x-ratelimit-reset-" + counts, go_duration(reading.reset_ns).encode()),
    ]


def throttled(model: str, organisation: str, refusal: Refusal) -> Answer:
    """429, with the level and the charge in the text; a request larger than the bucket is told so, without a time."""
    window = refusal.reading
    kind = "tokens" if window.counts == "tokens" else "requests"
    name = _LONG_NAME.get(window.name, window.name)
    where = f"for {model} in organization {organisation} on {name}: Limit {window.limit}"
    if refusal.wait_ns == NEVER:
        hint = "The input or output tokens must be reduced in order to run successfully."
        return _error(
            429, f"Request too large {where}, Requested {refusal.requested}. {hint} {_SEE}", kind, "rate_limit_exceeded"
        )
    wait_ms = -(-refusal.wait_ns // _MS)
    used = window.limit - window.remaining
    again = f"Please try again in {go_duration(wait_ms * _MS)}."
    answer = _error(
        429,
        f"Rate limit reached {where}, Used {used}, Requested {refusal.requested}. {again} {_SEE}",
        kind,
        "rate_limit_exceeded",
    )
    answer.headers += [(b"retry-after-ms", b"%d" % wait_ms), (b"retry-after", b"%d" % -(-wait_ms // 1000))]
    return answer


_ERRORS: dict[str, tuple[int, str, str | None, str]] = {
    "no_key": (
        401,
        "invalid_request_error",
        None,
        (
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer "
            "auth (i.e. Authorization: Bearer YOUR_KEY)."
        ),
    ),
    "invalid_key": (
        401,
        "invalid_request_error",
        "invalid_api_key",
        "Incorrect API key provided: sk-***. You can find your API key at https://platform.openai.com/account/api-keys.",
    ),
    "permission": (
        403,
        "invalid_request_error",
        "unsupported_country_region_territory",
        "Country, region, or territory not supported",
    ),
    "not_found": (404, "invalid_request_error", None, "Invalid URL ({text})"),
    "bad_request": (400, "invalid_request_error", None, "{text}"),
    "content_filter": (
        400,
        "invalid_request_error",
        "content_policy_violation",
        "Your request was rejected as a result of our safety system.",
    ),
    "model_not_found": (
        404,
        "invalid_request_error",
        "model_not_found",
        "The model `{model}` does not exist or you do not have access to it.",
    ),
    "context_length": (400, "invalid_request_error", "context_length_exceeded", "{text}"),
    "unpaid": (
        429,
        "insufficient_quota",
        "insufficient_quota",
        (
            "You exceeded your current quota, please check your plan and billing details. For more information on this "
            "error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors."
        ),
    ),
    "spend_limit": (
        429,
        "insufficient_quota",
        "organization_spend_limit_exceeded",
        "Your organization has reached its monthly spend limit.",
    ),
    "slow_down": (
        429,
        "rate_limit_error",
        "slow_down",
        "Your request rate increased too quickly. Please slow down and ramp up gradually.",
    ),
    "server_error": (
        500,
        "server_error",
        None,
        "The server had an error while processing your request. Sorry about that!",
    ),
    "overloaded": (
        503,
        "service_unavailable_error",
        "server_is_overloaded",
        "Our servers are currently overloaded. Please try again later.",
    ),
    "timeout": (504, "server_error", None, "The request timed out."),
}


def error(name: str, detail: str, model: str) -> Answer:
    """An error by the simulator's name for it; a name that is not known is a server error."""
    status, kind, code, template = _ERRORS.get(name, _ERRORS["server_error"])
    if name == "context_length":
        detail = _context_text(detail)
    return _error(status, template.format(text=detail, model=model), kind, code)


def _context_text(detail: str) -> str:
    context, read, asked = (int(part) for part in detail.split(":")) if detail.count(":") == 2 else (8192, 9000, 0)
    most = f"This model's maximum context length is {context} tokens. However, "
    if asked:
        parts = f"{read + asked} tokens ({read} in the messages, {asked} in the completion)"
        return f"{most}you requested {parts}. Please reduce the length of the messages or completion."
    return f"{most}your messages resulted in {read} tokens. Please reduce the length of the messages."


def _error(status: int, message: str, kind: str, code: str | None) -> Answer:
    param: Json = "messages" if code == "context_length_exceeded" else None
    return json_answer(status, {"error": {"message": message, "type": kind, "param": param, "code": code}})
