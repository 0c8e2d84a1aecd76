"""The engine's refusals as the errors LiteLLM's callers know, so that its fallbacks and its Proxy treat them rightly.

`num_retries = 0`: LiteLLM would otherwise try again at once, three times in ten milliseconds, while we know when there
will be room. `headers` reach the Proxy's client as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Final

import litellm

from apikeyrouter.errors import (
    BudgetExceededError,
    InvalidConfigurationError,
    InvalidRequestError,
    PolicyViolationError,
    QuotaExhaustedError,
    RoutingError,
)

PROVIDER: Final = "apikeyrouter"
Refusal = RoutingError | InvalidRequestError | InvalidConfigurationError
REFUSALS: Final = (RoutingError, InvalidRequestError, InvalidConfigurationError)
"""What a request can be refused for; the last one is an objective that it names and nobody knows."""


def raised(error: Refusal, model: str) -> Exception:
    """The LiteLLM error for a refusal; its text is the refusal's sentence."""
    message = f"{error.message} [{error.code}]"
    if isinstance(error, QuotaExhaustedError | BudgetExceededError):
        made: Exception = litellm.RateLimitError(message=message, llm_provider=PROVIDER, model=model)
    elif isinstance(error, PolicyViolationError | InvalidRequestError | InvalidConfigurationError):
        made = litellm.BadRequestError(message=message, llm_provider=PROVIDER, model=model)
    else:
        made = litellm.ServiceUnavailableError(message=message, llm_provider=PROVIDER, model=model)
    made.num_retries = 0  # type: ignore[attr-defined]
    made.headers = _headers(error)  # type: ignore[attr-defined]
    made.__cause__ = error
    return made


def _headers(error: Refusal) -> Mapping[str, str]:
    headers = {} if error.retry_after is None else {"retry-after": str(max(1, ceil(error.retry_after)))}
    decision = getattr(getattr(error, "decision", None), "id", "")
    return {**headers, "x-apikeyrouter-decision": decision} if decision else headers
