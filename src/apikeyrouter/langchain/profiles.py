"""What a pool of models can do: the meet of its members, because any of them may have to serve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from apikeyrouter.facade import ApiKeyRouter

_FEATURES: Final = {"tools": "tool_calling", "json_schema": "structured_output", "images": "image_inputs"}


def native_profile(router: ApiKeyRouter) -> dict[str, Any] | None:
    """What every provider that has keys can do; None before there is any."""
    found = common(router)
    return None if found is None else {name: feature in found for feature, name in _FEATURES.items()}


def common(router: ApiKeyRouter) -> frozenset[str] | None:
    """Features that every provider with keys has; None before there is any."""
    providers = {key.provider for key in router.list_keys()}
    found = [router.adapters[name].capabilities.features for name in providers]
    return frozenset.intersection(*found) if found else None


def meet(profiles: Iterable[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """What all can do: True where all say so, the least of numbers; None when one is unknown."""
    known = list(profiles)
    if not known or any(profile is None for profile in known):
        return None
    found = [profile for profile in known if profile is not None]
    names = set(found[0]).intersection(*found[1:])
    return {name: _least([profile[name] for profile in found]) for name in sorted(names)}


def _least(values: list[Any]) -> Any:
    if all(isinstance(value, bool) for value in values):
        return all(values)
    return min(values) if all(isinstance(value, int | float) for value in values) else values[0]
