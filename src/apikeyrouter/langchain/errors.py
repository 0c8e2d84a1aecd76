"""Our errors as LangChain's: every one is both, so that either `except` catches it and retry middleware reads it right.

langchain-core's neutral errors say by `is_retryable` whether the same request may succeed; ours know more (money that
is gone does not come back by asking again), so an instance may correct its class. Nothing is classified here.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
)

from apikeyrouter import errors

__all__ = [
    "ChatAuthenticationError",
    "ChatBudgetExceededError",
    "ChatConnectionError",
    "ChatContextOverflowError",
    "ChatInvalidRequestError",
    "ChatModelNotFoundError",
    "ChatNoEligibleKeysError",
    "ChatPartialStreamError",
    "ChatPermissionDeniedError",
    "ChatPolicyViolationError",
    "ChatProviderError",
    "ChatQuotaExhaustedError",
    "ChatRateLimitError",
    "ChatTimeoutError",
    "in_langchain",
    "spoken",
]


class ChatQuotaExhaustedError(errors.QuotaExhaustedError, ModelRateLimitError):
    """Keys exist, none has room in time; `retry_after` says when."""


class ChatNoEligibleKeysError(errors.NoEligibleKeysError, ModelError):
    """No key can serve; retryable where `retry_after` says that time helps."""


class ChatBudgetExceededError(errors.BudgetExceededError, ModelError):
    """Keys exist, money does not; asking again does not help."""


class ChatPolicyViolationError(errors.PolicyViolationError, ModelPermissionDeniedError):
    """Rules removed every key."""


class ChatRateLimitError(errors.RateLimitError, ModelRateLimitError):
    """The provider refuses for quota or money; not retryable where the key's plan or money ended."""


class ChatAuthenticationError(errors.AuthenticationError, ModelAuthenticationError):
    """The provider refuses the keys."""


class ChatPermissionDeniedError(errors.AuthenticationError, ModelPermissionDeniedError):
    """The provider knows the keys and forbids this to them."""


class ChatTimeoutError(errors.ProviderTimeoutError, ModelTimeoutError):
    """No answer in time."""


class ChatConnectionError(errors.ServiceUnavailableError, ModelConnectionError):
    """The provider cannot be reached."""


class ChatProviderError(errors.ServiceUnavailableError, ModelAPIError):
    """The provider failed (5xx, overload, an answer that cannot be read)."""


class ChatPartialStreamError(errors.PartialStreamError, ModelConnectionError):
    """A stream broke after content had reached the caller; `text` is what arrived."""


class ChatInvalidRequestError(errors.InvalidRequestError, ModelInvalidRequestError):
    """The request itself is refused."""


class ChatContextOverflowError(errors.InvalidRequestError, ContextOverflowError):
    """The request is longer than the model reads."""


class ChatModelNotFoundError(errors.InvalidRequestError, ModelNotFoundError):
    """The provider has no such model."""


_BY_KIND: Final = {
    "forbidden": ChatPermissionDeniedError,
    "network": ChatConnectionError,
    "too_long": ChatContextOverflowError,
    "model_not_found": ChatModelNotFoundError,
}
_BY_TYPE: Final[tuple[tuple[type[errors.ApiKeyRouterError], type[errors.ApiKeyRouterError]], ...]] = (
    (errors.QuotaExhaustedError, ChatQuotaExhaustedError),
    (errors.NoEligibleKeysError, ChatNoEligibleKeysError),
    (errors.BudgetExceededError, ChatBudgetExceededError),
    (errors.PolicyViolationError, ChatPolicyViolationError),
    (errors.RateLimitError, ChatRateLimitError),
    (errors.AuthenticationError, ChatAuthenticationError),
    (errors.ProviderTimeoutError, ChatTimeoutError),
    (errors.PartialStreamError, ChatPartialStreamError),
    (errors.InvalidRequestError, ChatInvalidRequestError),
    (errors.ServiceUnavailableError, ChatProviderError),
)
_HOPELESS: Final = frozenset({"no_money", "not_on_plan", "quota_exhausted"})


def spoken(error: errors.ApiKeyRouterError) -> errors.ApiKeyRouterError:
    """The same error, which langchain-core's `except` clauses catch too; what has no counterpart stays as it is."""
    if type(error).__module__ == __name__:
        return error
    kind = error.details.get("kind")
    found = _BY_KIND.get(kind) if isinstance(kind, str) else None
    target = found or next((ours for theirs, ours in _BY_TYPE if isinstance(error, theirs)), None)
    if target is None:
        return error
    made: errors.ApiKeyRouterError = target.__new__(target)
    made.args = error.args
    made.__dict__.update(error.__dict__)
    if kind in _HOPELESS:
        made.is_retryable = False  # type: ignore[attr-defined]  # ModelError's, on the instance
    elif isinstance(made, ChatNoEligibleKeysError):
        made.is_retryable = error.retry_after is not None
    return made


@contextmanager
def in_langchain() -> Generator[None]:
    """Let our errors leave as LangChain's."""
    try:
        yield
    except errors.ApiKeyRouterError as error:
        made = spoken(error)
        if made is error:
            raise
        raise made from error.__cause__
