"""The LangChain door: a chat model, embeddings and a middleware that are every key you own.

    from apikeyrouter.langchain import ChatApiKeyRouter
    llm = ChatApiKeyRouter.from_config("apikeyrouter.yaml", model="gpt-4o-mini")

Importing this package loads no LangChain; taking a name from it does. Nothing here decides: picking, holding and
settling are the engine's.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from apikeyrouter.errors import MissingDependencyError

if TYPE_CHECKING:
    from apikeyrouter.langchain.chat import ChatApiKeyRouter
    from apikeyrouter.langchain.deployments import ChatDeployment
    from apikeyrouter.langchain.embeddings import ApiKeyRouterEmbeddings
    from apikeyrouter.langchain.middleware import ApiKeyRouterMiddleware
    from apikeyrouter.langchain.options import RoutingOptions

__all__ = ["ApiKeyRouterEmbeddings", "ApiKeyRouterMiddleware", "ChatApiKeyRouter", "ChatDeployment", "RoutingOptions"]

_HOMES: Final = {
    "ApiKeyRouterEmbeddings": "apikeyrouter.langchain.embeddings",
    "ApiKeyRouterMiddleware": "apikeyrouter.langchain.middleware",
    "ChatApiKeyRouter": "apikeyrouter.langchain.chat",
    "ChatDeployment": "apikeyrouter.langchain.deployments",
    "RoutingOptions": "apikeyrouter.langchain.options",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'apikeyrouter.langchain' has no attribute '{name}'")
    try:
        return getattr(import_module(home), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("langchain", "langchain_core"):
            raise MissingDependencyError(
                f"{name} needs {error.name}, which is not installed: pip install 'apikeyrouter[langchain]'"
            ) from None
        raise
