"""Where short-lived access tokens come from, by name, so that a configuration can say so (`token_source: google`).

    @token_source("google")
    async def token(key: SecretSource) -> SecretSource:
        credentials.refresh(...)  # in a thread; keep the token until it ends
        return Secret(credentials.token)

A source is asked before every request, with the key's own secret: it should keep what it got. Where a token is refused,
the key is at fault.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final

from apikeyrouter.errors import InvalidConfigurationError
from apikeyrouter.ports import SecretSource

TokenSource = Callable[[SecretSource], Awaitable[SecretSource]]

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_SOURCES: dict[str, TokenSource] = {}


def token_source(name: str) -> Callable[[TokenSource], TokenSource]:
    """Register a function that makes tokens from keys. The same name again replaces it."""
    if not _NAME.fullmatch(name):
        raise InvalidConfigurationError(f"A token source cannot be called {name!r}; use a-z, 0-9, _ and -.")

    def register(function: TokenSource) -> TokenSource:
        _SOURCES[name] = function
        return function

    return register


def source_named(name: str) -> TokenSource | None:
    """The registered source of that name."""
    return _SOURCES.get(name)


def known_sources() -> tuple[str, ...]:
    """Names of registered sources, sorted."""
    return tuple(sorted(_SOURCES))
