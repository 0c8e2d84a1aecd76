"""Gemini's 429 with QuotaFailure and RetryInfo, and its other errors, as they were recorded in public places.

An invalid key is a 400 here. `retryDelay` of a daily quota is the truth on a paid tier (recorded: 43424s) and about
half a minute on the free one (recorded: 38s although the day has hours to go): a client that believes the latter
fails again.
"""

from __future__ import annotations

from apikeyrouter.simulator.clock import NS
from apikeyrouter.simulator.state import Refusal
from apikeyrouter.simulator.window import NEVER
from apikeyrouter.simulator.wire import Answer, Json, json_answer

__all__ = ["error", "throttled"]

_TYPE = "type.googleapis.com/google.rpc."
_SERVICE = "generativelanguage.googleapis.com"
_HELP: Json = {
    "@type": _TYPE + "Help",
    "links": [
        {
            "description": "Learn more about Gemini API quotas",
            "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
        }
    ],
}
_EXCEEDED = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, "
    "head to: https://ai.google.dev/gemini-api/docs/rate-limits. To monitor your current usage, head to: "
    "https://ai.dev/rate-limit. "
)

# (what it counts, is it a day's, is the tier free) -> (metric, quotaId)
_QUOTAS = {
    ("requests", False, False): ("generate_requests_per_model", "GenerateRequestsPerMinutePerProjectPerModel"),
    ("requests", True, False): ("generate_requests_per_model_per_day", "GenerateRequestsPerDayPerProjectPerModel"),
    ("tokens", False, False): (
        "generate_content_paid_tier_input_token_count",
        "GenerateContentPaidTierInputTokensPerModelPerMinute",
    ),
    ("requests", False, True): (
        "generate_content_free_tier_requests",
        "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
    ),
    ("requests", True, True): (
        "generate_content_free_tier_requests",
        "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
    ),
    ("tokens", False, True): (
        "generate_content_free_tier_input_token_count",
        "GenerateContentInputTokensPerModelPerMinute-FreeTier",
    ),
}
_SHORT_S = 38
_DAY_NS = 86_400 * NS


def throttled(model: str, tier: str, refusal: Refusal) -> Answer:
    """429 RESOURCE_EXHAUSTED; without RetryInfo for a request that is larger than the window."""
    window, free = refusal.reading, tier == "free"
    daily = window.per_ns >= _DAY_NS
    counts = "requests" if window.counts == "requests" else "tokens"
    metric, quota_id = _QUOTAS.get((counts, daily, free), _QUOTAS[(counts, False, free)])
    violation: Json = {
        "quotaMetric": f"{_SERVICE}/{metric}",
        "quotaId": quota_id,
        "quotaDimensions": {"model": model, "location": "global"},
        "quotaValue": str(window.limit),
    }
    details: list[Json] = [_HELP, {"@type": _TYPE + "QuotaFailure", "violations": [violation]}]
    message = f"{_EXCEEDED}\n* Quota exceeded for metric: {_SERVICE}/{metric}, limit: {window.limit}, model: {model}"
    if refusal.wait_ns != NEVER:
        wait_ns = min(refusal.wait_ns, _SHORT_S * NS) if daily and free else refusal.wait_ns
        message += f"\nPlease retry in {wait_ns // NS}.{wait_ns % NS:09d}s."
        details.append({"@type": _TYPE + "RetryInfo", "retryDelay": f"{-(-wait_ns // NS)}s"})
    return _error(429, "RESOURCE_EXHAUSTED", message, details)


_ERRORS: dict[str, tuple[int, str, str]] = {
    "no_key": (
        403,
        "PERMISSION_DENIED",
        (
            "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or "
            "other form of API consumer identity to call this API."
        ),
    ),
    "invalid_key": (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    "permission": (403, "PERMISSION_DENIED", "Permission denied on resource project."),
    "precondition": (400, "FAILED_PRECONDITION", "User location is not supported for the API use."),
    "not_found": (404, "NOT_FOUND", "Requested entity was not found."),
    "bad_request": (400, "INVALID_ARGUMENT", "{text}"),
    "model_not_found": (
        404,
        "NOT_FOUND",
        (
            "models/{model} is not found for API version v1beta, or is not supported for generateContent. Call "
            "ListModels to see the list of available models and their supported methods."
        ),
    ),
    "context_length": (400, "INVALID_ARGUMENT", "{text}"),
    "unpaid": (
        429,
        "RESOURCE_EXHAUSTED",
        (
            "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects to manage your "
            "project and billing."
        ),
    ),
    "spend_limit": (
        429,
        "RESOURCE_EXHAUSTED",
        (
            "Your project has exceeded its monthly spending cap. Please go to AI Studio at https://ai.studio/spend to "
            "manage your project spend cap."
        ),
    ),
    "server_error": (500, "INTERNAL", "An internal error has occurred. Please retry."),
    "overloaded": (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    "timeout": (504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
}


def error(name: str, detail: str, model: str) -> Answer:
    """An error by the simulator's name for it; a name that is not known is a server error."""
    status, kind, template = _ERRORS.get(name, _ERRORS["server_error"])
    if name == "context_length":
        detail = _context_text(detail)
    message = template.format(text=detail, model=model)
    return _error(status, kind, message, _key_details(message) if name == "invalid_key" else [])


def _key_details(message: str) -> list[Json]:
    info: Json = {
        "@type": _TYPE + "ErrorInfo",
        "reason": "API_KEY_INVALID",
        "domain": "googleapis.com",
        "metadata": {"service": _SERVICE},
    }
    return [info, {"@type": _TYPE + "LocalizedMessage", "locale": "en-US", "message": message}]


def _context_text(detail: str) -> str:
    context, read, _ = detail.split(":") if detail.count(":") == 2 else ("1048576", "1200000", "0")
    return f"The input token count ({read}) exceeds the maximum number of tokens allowed ({context})."


def _error(status: int, kind: str, message: str, details: list[Json]) -> Answer:
    inner: dict[str, Json] = {"code": status, "message": message, "status": kind}
    if details:
        inner["details"] = details
    return json_answer(status, {"error": inner})
