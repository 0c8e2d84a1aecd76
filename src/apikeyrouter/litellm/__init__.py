"""The LiteLLM door: every LiteLLM call by the best key, in the SDK and in the Proxy.

    from apikeyrouter.litellm import ApiKeyRoutingStrategy
    strategy = ApiKeyRoutingStrategy.install(litellm_router)

Importing this package loads no LiteLLM, which takes seconds and fetches prices unless LITELLM_LOCAL_MODEL_COST_MAP
is "True"; taking a name from it does. Nothing here decides: picking, holding and settling are the engine's.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from apikeyrouter.litellm.strategy import ApiKeyRoutingStrategy

__all__ = ["ApiKeyRoutingStrategy"]

_HOMES: Final = {"ApiKeyRoutingStrategy": "apikeyrouter.litellm.strategy"}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'apikeyrouter.litellm' has no attribute '{name}'")
    return getattr(import_module(home), name)
