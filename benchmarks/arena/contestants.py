"""Who plays, by name. What needs another environment than the development one says so."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import httpx

from arena.naive import at_random, least_busy, naive, round_robin
from arena.ours import apikeyrouter
from arena.play import Player
from arena.profiles import Access

Opened = AbstractAsyncContextManager[Player]
Open = Callable[[Access, httpx.AsyncBaseTransport | None], Opened]

NATIVE: dict[str, Open] = {
    "apikeyrouter": apikeyrouter,
    "round robin": partial(naive, rule=round_robin),
    "random": partial(naive, rule=at_random),
    "least busy": partial(naive, rule=least_busy),
}
"""These take a transport, so they also play in virtual time."""

WITH_LITELLM = (
    "apikeyrouter in LiteLLM",
    "LiteLLM simple-shuffle",
    "LiteLLM least-busy",
    "LiteLLM usage-based-routing-v2",
    "LiteLLM latency-based-routing",
)
"""These play over HTTP only, in a process of LiteLLM's environment."""


def opened(name: str, access: Access) -> Opened:
    """The player of that name over HTTP."""
    if name in NATIVE:
        return NATIVE[name](access, None)
    from arena.rivals import litellm_router, our_strategy  # imports litellm

    return our_strategy(access) if name == WITH_LITELLM[0] else litellm_router(access, name.partition(" ")[2])
