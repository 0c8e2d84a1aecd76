"""Providers' dialects. An adapter sends, reads and classifies; it never decides. Loaded on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from apikeyrouter.adapters.anthropic import AnthropicAdapter
    from apikeyrouter.adapters.base import BaseAdapter, ListStream
    from apikeyrouter.adapters.declarative import DeclarativeAdapter
    from apikeyrouter.adapters.factory import build
    from apikeyrouter.adapters.gemini import GeminiAdapter
    from apikeyrouter.adapters.jsonhttp import HTTPAdapter
    from apikeyrouter.adapters.openai import OpenAIAdapter
    from apikeyrouter.adapters.signing import Signing, signer
    from apikeyrouter.adapters.token_sources import token_source

__all__ = [
    "AnthropicAdapter",
    "BaseAdapter",
    "DeclarativeAdapter",
    "GeminiAdapter",
    "HTTPAdapter",
    "ListStream",
    "OpenAIAdapter",
    "Signing",
    "build",
    "signer",
    "token_source",
]

_HOMES: Final = {
    "AnthropicAdapter": "anthropic",
    "BaseAdapter": "base",
    "DeclarativeAdapter": "declarative",
    "GeminiAdapter": "gemini",
    "HTTPAdapter": "jsonhttp",
    "ListStream": "base",
    "OpenAIAdapter": "openai",
    "Signing": "signing",
    "build": "factory",
    "signer": "signing",
    "token_source": "token_sources",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
