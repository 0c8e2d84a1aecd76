"""Anthropic's rate limit headers, its 429 and its other errors: texts and types as they were recorded.

`-remaining` of tokens is rounded to thousands and `-reset` is when the window will be full, in whole seconds (docs
"Rate limits", 2026-08; recorded headers). Without a workspace limit the `tokens` headers are the sums of input and
output.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from apikeyrouter.simulator.clock import NS
from apikeyrouter.simulator.spec import Organisation
from apikeyrouter.simulator.state import Reading, Refusal
from apikeyrouter.simulator.window import NEVER
from apikeyrouter.simulator.wire import Answer, HeaderList, Json, json_answer
from apikeyrouter.simulator.world import Stamp

__all__ = ["error", "headers", "throttled"]

_DAY_NS = 86_400 * NS
_SHOWN = {"requests": b"requests", "input": b"input-tokens", "output": b"output-tokens", "tokens": b"tokens"}
_UNIT = {"requests": "requests", "input": "input tokens", "output": "output tokens", "tokens": "tokens"}
_MORE = (
    "For details, refer to: https://docs.claude.com/en/api/rate-limits. You can see the response headers for current "
    "usage. Please reduce the prompt length or the maximum tokens requested, or try again later. You may also contact "
    "sales at https://claude.com/contact-sales to discuss your options for a rate limit increase."
)


def headers(stamp: Stamp, readings: Sequence[Reading], organisation: Organisation | None) -> HeaderList:
    """What every answer carries."""
    found: HeaderList = [(b"request-id", stamp.request_id.encode())]
    if organisation is None:
        return found
    found.append((b"anthropic-organization-id", organisation.id.encode()))
    for reading in [*readings, *_sum_of_tokens(readings)]:
        found += _three(reading, stamp)
    return found


def _sum_of_tokens(readings: Sequence[Reading]) -> list[Reading]:
    both = [reading for reading in readings if reading.counts in ("input", "output")]
    if len(both) != 2 or any(reading.counts == "tokens" for reading in readings):
        return []
    limit, capacity, left = (
        sum(amounts) for amounts in zip(*((r.limit, r.capacity, r.remaining) for r in both), strict=True)
    )
    return [
        Reading("tokens", "tokens", limit, capacity, left, max(reading.reset_ns for reading in both), both[0].per_ns)
    ]


def _three(reading: Reading, stamp: Stamp) -> HeaderList:
    prefix = b"anthropic-ratelimit-" + _SHOWN[reading.counts]
    left = reading.remaining
    if reading.counts != "requests":
        left = min(reading.limit, (left + 500) // 1000 * 1000)
    full = datetime.fromtimestamp(-(-(round(stamp.arrived * NS) + reading.reset_ns) // NS), UTC)
    return [
        (prefix + b"-limit", b"%d" % reading.limit),
        (prefix + b"-remaining", b"%d" % left),
        (prefix + b"-reset", full.strftime("%Y-%m-%dT%H:%M:%SZ").encode()),
    ]


def throttled(model: str, stamp: Stamp, refusal: Refusal) -> Answer:
    """429 for a window, with `retry-after` in whole seconds; none for a request that is larger than the window."""
    window = refusal.reading
    limit = f"{window.limit:,} {_UNIT[window.counts]} per {'minute' if window.per_ns < _DAY_NS else 'day'}"
    where = f"(org: {stamp.organisation}, model: {model})"
    answer = _error(
        429,
        "rate_limit_error",
        f"This request would exceed your organization's rate limit of {limit} {where}. {_MORE}",
        stamp,
    )
    if refusal.wait_ns != NEVER:
        answer.headers.append((b"retry-after", b"%d" % -(-refusal.wait_ns // NS)))
    return answer


_ERRORS: dict[str, tuple[int, str, str]] = {
    "no_key": (401, "authentication_error", "x-api-key header is required"),
    "invalid_key": (401, "authentication_error", "invalid x-api-key"),
    "permission": (
        403,
        "permission_error",
        "Your API key does not have permission to use the specified resource.",
    ),
    "not_found": (404, "not_found_error", "{text}"),
    "model_not_found": (404, "not_found_error", "model: {model}"),
    "bad_request": (400, "invalid_request_error", "{text}"),
    "context_length": (400, "invalid_request_error", "{text}"),
    "too_large": (413, "request_too_large", "Request exceeds the maximum allowed number of bytes."),
    "unpaid": (
        400,
        "invalid_request_error",
        (
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
            "purchase credits."
        ),
    ),
    "billing": (402, "billing_error", "There is an issue with your billing or payment information."),
    "spend_limit": (
        400,
        "invalid_request_error",
        "You have reached your specified API usage limits. You will regain access on {month} at 00:00 UTC.",
    ),
    "workspace_spend_limit": (
        400,
        "invalid_request_error",
        "You have reached your specified workspace API usage limits. You will regain access on {month} at 00:00 UTC.",
    ),
    "tier_spend_cap": (
        429,
        "rate_limit_error",
        (
            "You have reached your API usage limits: your organization has crossed its monthly API usage threshold, "
            "set based on your organization's API tier. You will regain access on {month} at 00:00 UTC."
        ),
    ),
    "acceleration": (
        429,
        "rate_limit_error",
        (
            "This request would exceed the rate at which your organization may increase its usage. Please ramp up "
            "gradually and maintain consistent usage patterns."
        ),
    ),
    "server_error": (500, "api_error", "Internal server error"),
    "timeout": (504, "timeout_error", "The request timed out while processing."),
    "overloaded": (529, "overloaded_error", "Overloaded"),
}


def error(name: str, stamp: Stamp, detail: str, model: str) -> Answer:
    """An error by the simulator's name for it; a name that is not known is a server error."""
    status, kind, template = _ERRORS.get(name, _ERRORS["server_error"])
    if name == "context_length":
        detail = _context_text(detail)
    details: Json = {"error_code": "enforced_spend_limit_reached"} if name == "tier_spend_cap" else None
    return _error(status, kind, template.format(text=detail, model=model, month=_next_month(stamp)), stamp, details)


def _context_text(detail: str) -> str:
    context, read, asked = (
        (int(part) for part in detail.split(":")) if detail.count(":") == 2 else (200_000, 250_000, 0)
    )
    if read > context:
        return f"prompt is too long: {read} tokens > {context} maximum"
    which = f"{read} + {asked} > {context}, decrease input length or `max_tokens` and try again"
    return f"input length and `max_tokens` exceed context limit: {which}"


def _next_month(stamp: Stamp) -> str:
    now = datetime.fromtimestamp(stamp.created, UTC)
    return f"{now.year + now.month // 12}-{now.month % 12 + 1:02d}-01"


def _error(status: int, kind: str, message: str, stamp: Stamp, details: Json = None) -> Answer:
    inner: dict[str, Json] = {"type": kind, "message": message}
    if details is not None:
        inner["details"] = details
    return json_answer(status, {"type": "error", "error": inner, "request_id": stamp.request_id})
