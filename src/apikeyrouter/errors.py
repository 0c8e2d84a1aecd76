"""Every exception a user can meet, as one tree; imports nothing.

    ApiKeyRouterError
    ├── ProviderError                  the provider answered with a failure, or not at all
    │   ├── RateLimitError             429 of the provider
    │   ├── AuthenticationError        the key was refused
    │   ├── ServiceUnavailableError    overload, 5xx, network
    │   ├── ProviderTimeoutError       no answer in time
    │   ├── PartialStreamError         a stream broke after content had reached the caller
    │   └── InvalidRequestError        the provider refuses the request itself
    ├── RoutingError                   nothing was sent
    │   ├── NoEligibleKeysError        state, model or capability left no key
    │   ├── QuotaExhaustedError        keys exist, none has room in time (retry_after says when)
    │   ├── BudgetExceededError        keys exist, money does not
    │   └── PolicyViolationError       rules removed every key
    ├── KeyNotFoundError, KeyAlreadyExistsError, ProviderNotFoundError, DecisionNotFoundError
    ├── StateError
    │   ├── InvalidStateTransitionError
    │   └── StateCorruptionError
    └── ConfigurationError
        ├── InvalidConfigurationError  carries every problem found, not only the first
        ├── MissingConfigurationError
        └── MissingDependencyError     an optional library is absent; the sentence has the pip command

A message is one sentence with the thing, the number and the next step; never a secret. `code` and `http_status`
are stable: the proxy and the doors map them, users match on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = [
    "ApiKeyRouterError",
    "AuthenticationError",
    "BudgetExceededError",
    "ConfigurationError",
    "DecisionNotFoundError",
    "InvalidConfigurationError",
    "InvalidRequestError",
    "InvalidStateTransitionError",
    "KeyAlreadyExistsError",
    "KeyNotFoundError",
    "MissingConfigurationError",
    "MissingDependencyError",
    "NoEligibleKeysError",
    "PartialStreamError",
    "PolicyViolationError",
    "ProviderError",
    "ProviderNotFoundError",
    "ProviderTimeoutError",
    "QuotaExhaustedError",
    "RateLimitError",
    "RoutingError",
    "ServiceUnavailableError",
    "StateCorruptionError",
    "StateError",
]

Details = Mapping[str, object]
_NOTHING: Details = MappingProxyType({})


class ApiKeyRouterError(Exception):
    """Root of the tree.

    `details` holds the numbers of the message as data; `retry_after` is seconds, or None where waiting does not help.
    """

    code = "INTERNAL_ERROR"
    http_status = 500

    def __init__(self, message: str, *, retry_after: float | None = None, details: Details = _NOTHING) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        self.details = dict(details)


class ProviderError(ApiKeyRouterError):
    """A provider's failure, after all attempts; `status` is the provider's own, None when none came."""

    code = "PROVIDER_ERROR"
    http_status = 502

    def __init__(
        self, message: str, *, status: int | None = None, retry_after: float | None = None, details: Details = _NOTHING
    ) -> None:
        super().__init__(message, retry_after=retry_after, details=details)
        self.status = status


class RateLimitError(ProviderError):
    code = "RATE_LIMIT"
    http_status = 429


class AuthenticationError(ProviderError):
    code = "INVALID_KEY"


class ServiceUnavailableError(ProviderError):
    code = "PROVIDER_ERROR"


class ProviderTimeoutError(ProviderError):
    code = "TIMEOUT"
    http_status = 504


class InvalidRequestError(ProviderError):
    """The request itself is at fault: no other key would help, so none was tried."""

    code = "INVALID_REQUEST"
    http_status = 400


class PartialStreamError(ProviderError):
    """A stream broke after content reached the caller; `text` and `usage` are what arrived before."""

    code = "PARTIAL_STREAM"

    def __init__(self, message: str, *, text: str = "", usage: object = None, status: int | None = None) -> None:
        super().__init__(message, status=status)
        self.text = text
        self.usage = usage


class RoutingError(ApiKeyRouterError):
    """No key could be chosen; nothing was sent. `decision` explains every candidate."""

    code = "NO_KEYS_AVAILABLE"
    http_status = 503

    def __init__(
        self, message: str, *, decision: object = None, retry_after: float | None = None, details: Details = _NOTHING
    ) -> None:
        super().__init__(message, retry_after=retry_after, details=details)
        self.decision = decision


class NoEligibleKeysError(RoutingError):
    code = "NO_KEYS_AVAILABLE"


class QuotaExhaustedError(RoutingError):
    """Some key is eligible but none has room; `retry_after` is when the first one will."""

    code = "QUOTA_EXHAUSTED"


class BudgetExceededError(RoutingError):
    code = "BUDGET_EXCEEDED"
    http_status = 429


class PolicyViolationError(RoutingError):
    code = "POLICY_VIOLATION"
    http_status = 400


class KeyNotFoundError(ApiKeyRouterError):
    code = "KEY_NOT_FOUND"
    http_status = 404


class KeyAlreadyExistsError(ApiKeyRouterError):
    code = "KEY_EXISTS"
    http_status = 409


class ProviderNotFoundError(ApiKeyRouterError):
    code = "INVALID_PROVIDER"
    http_status = 400


class DecisionNotFoundError(ApiKeyRouterError):
    code = "DECISION_NOT_FOUND"
    http_status = 404


class StateError(ApiKeyRouterError):
    code = "STATE_ERROR"


class InvalidStateTransitionError(StateError):
    code = "INVALID_STATE_TRANSITION"
    http_status = 409


class StateCorruptionError(StateError):
    code = "STATE_CORRUPTION"


class ConfigurationError(ApiKeyRouterError):
    code = "CONFIGURATION_ERROR"
    http_status = 400


class InvalidConfigurationError(ConfigurationError):
    """`problems` are sentences, one for each mistake, in file order."""

    code = "INVALID_CONFIGURATION"

    def __init__(self, message: str, *, problems: tuple[str, ...] = (), details: Details = _NOTHING) -> None:
        super().__init__(message, details=details)
        self.problems = problems or (message,)


class MissingConfigurationError(ConfigurationError):
    code = "MISSING_CONFIGURATION"


class MissingDependencyError(ConfigurationError):
    code = "MISSING_DEPENDENCY"
    http_status = 500
