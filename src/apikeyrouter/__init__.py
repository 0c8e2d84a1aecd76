"""Routes requests across many API keys: quota, money, policies, failover, and an explanation for every decision.

Names load on first use, so that `import apikeyrouter` costs milliseconds and pulls in no third party.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from apikeyrouter.adapters import BaseAdapter, DeclarativeAdapter, OpenAIAdapter
    from apikeyrouter.core.budget import Budget
    from apikeyrouter.core.decision import Decision
    from apikeyrouter.core.estimate import Estimate
    from apikeyrouter.core.failure import Failure
    from apikeyrouter.core.forecast import Forecast
    from apikeyrouter.core.health import Probe
    from apikeyrouter.core.key import Key, State
    from apikeyrouter.core.ledger import Lease
    from apikeyrouter.core.model import Capabilities, Reading, Request, Usage
    from apikeyrouter.core.policy import Policy
    from apikeyrouter.core.price import Price, PriceBook
    from apikeyrouter.core.rehearsal import Impact
    from apikeyrouter.core.retry import RetrySettings
    from apikeyrouter.core.score import Objective, objective
    from apikeyrouter.core.spending import CostRow
    from apikeyrouter.core.terms import Option
    from apikeyrouter.core.window import Limit
    from apikeyrouter.credentials import Secret
    from apikeyrouter.errors import (
        ApiKeyRouterError,
        AuthenticationError,
        BudgetExceededError,
        ConfigurationError,
        DecisionNotFoundError,
        InvalidConfigurationError,
        InvalidRequestError,
        InvalidStateTransitionError,
        KeyAlreadyExistsError,
        KeyNotFoundError,
        MissingConfigurationError,
        MissingDependencyError,
        NoEligibleKeysError,
        PartialStreamError,
        PolicyViolationError,
        ProviderError,
        ProviderNotFoundError,
        ProviderTimeoutError,
        QuotaExhaustedError,
        RateLimitError,
        RoutingError,
        ServiceUnavailableError,
        StateCorruptionError,
        StateError,
    )
    from apikeyrouter.facade import ApiKeyRouter
    from apikeyrouter.ports import Adapter, Answer, Call, Chunk
    from apikeyrouter.reply import Reply, RoutingMetadata
    from apikeyrouter.settings import Settings
    from apikeyrouter.summary import ProviderHealth, StateSummary

_HOMES: Final = {
    "apikeyrouter.adapters": ("BaseAdapter", "DeclarativeAdapter", "OpenAIAdapter"),
    "apikeyrouter.core.budget": ("Budget",),
    "apikeyrouter.core.decision": ("Decision",),
    "apikeyrouter.core.failure": ("Failure",),
    "apikeyrouter.core.estimate": ("Estimate",),
    "apikeyrouter.core.forecast": ("Forecast",),
    "apikeyrouter.core.health": ("Probe",),
    "apikeyrouter.core.key": ("Key", "State"),
    "apikeyrouter.core.ledger": ("Lease",),
    "apikeyrouter.core.model": ("Capabilities", "Reading", "Request", "Usage"),
    "apikeyrouter.core.policy": ("Policy",),
    "apikeyrouter.core.price": ("Price", "PriceBook"),
    "apikeyrouter.core.retry": ("RetrySettings",),
    "apikeyrouter.core.rehearsal": ("Impact",),
    "apikeyrouter.core.score": ("Objective", "objective"),
    "apikeyrouter.core.spending": ("CostRow",),
    "apikeyrouter.core.terms": ("Option",),
    "apikeyrouter.core.window": ("Limit",),
    "apikeyrouter.credentials": ("Secret",),
    "apikeyrouter.errors": (
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
    ),
    "apikeyrouter.facade": ("ApiKeyRouter",),
    "apikeyrouter.ports": ("Adapter", "Answer", "Call", "Chunk"),
    "apikeyrouter.reply": ("Reply", "RoutingMetadata"),
    "apikeyrouter.settings": ("Settings",),
    "apikeyrouter.summary": ("ProviderHealth", "StateSummary"),
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Adapter",
    "Answer",
    "ApiKeyRouter",
    "ApiKeyRouterError",
    "AuthenticationError",
    "BaseAdapter",
    "Budget",
    "BudgetExceededError",
    "Call",
    "Capabilities",
    "Chunk",
    "ConfigurationError",
    "CostRow",
    "Decision",
    "DecisionNotFoundError",
    "DeclarativeAdapter",
    "Estimate",
    "Failure",
    "Forecast",
    "Impact",
    "InvalidConfigurationError",
    "InvalidRequestError",
    "InvalidStateTransitionError",
    "Key",
    "KeyAlreadyExistsError",
    "KeyNotFoundError",
    "Lease",
    "Limit",
    "MissingConfigurationError",
    "MissingDependencyError",
    "NoEligibleKeysError",
    "Objective",
    "OpenAIAdapter",
    "Option",
    "PartialStreamError",
    "Policy",
    "PolicyViolationError",
    "Price",
    "PriceBook",
    "Probe",
    "ProviderError",
    "ProviderHealth",
    "ProviderNotFoundError",
    "ProviderTimeoutError",
    "QuotaExhaustedError",
    "RateLimitError",
    "Reading",
    "Reply",
    "Request",
    "RetrySettings",
    "RoutingError",
    "RoutingMetadata",
    "Secret",
    "ServiceUnavailableError",
    "Settings",
    "State",
    "StateCorruptionError",
    "StateError",
    "StateSummary",
    "Usage",
    "objective",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'apikeyrouter' has no attribute '{name}'")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
