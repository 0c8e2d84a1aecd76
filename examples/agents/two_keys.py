"""What the examples beside share: a simulated provider, and a router with two of its keys, the first out of quota.

In a program of your own this is `router = ApiKeyRouter.from_config("apikeyrouter.yaml")` and the provider's address.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from apikeyrouter import ApiKeyRouter
from apikeyrouter.simulator import Organisation, World, limits, serve


@contextmanager
def two_keys() -> Iterator[tuple[ApiKeyRouter, str]]:
    """A router and the provider's address; afterwards a line for each key. Fails if the second did not serve."""
    rates = {"a1": limits(rpm=1, start=0.0), "b1": limits(rpm=500)}
    world = World([Organisation(id=f"org-{key}", keys=(key,), limits=rate) for key, rate in rates.items()])
    with serve(world, thread=True) as url:
        keys = {key: {"provider": "openai", "secret": world.secret(key), "tier": at} for at, key in enumerate(rates)}
        providers = {"openai": {"adapter": "openai", "base_url": f"{url}/v1"}}
        router = ApiKeyRouter.from_config({"providers": providers, "keys": keys})
        yield router, f"{url}/v1"
        router.sync.close()
    counted = {key: world.key(key).counters for key in rates}  # now that the provider has written everything down
    for key, seen in counted.items():
        print(f"{key}: {seen.admitted} answered, {seen.throttled} refused for quota")
    assert counted["b1"].admitted >= 2, "the agent should have called its model before and after its tool"
    assert counted["a1"].admitted == 0


def get_weather(city: str) -> str:
    """The weather of a city.

    Args:
        city: which one.
    """
    return f"sunny in {city}"
