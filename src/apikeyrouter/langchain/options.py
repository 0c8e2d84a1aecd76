"""What a caller wants of the routing, per call, from wherever LangChain lets it be said.

In order: a call's own keyword arguments, `config["configurable"]["apikeyrouter"]`, the context of the running graph,
`config["metadata"]["apikeyrouter"]`, the model's own. They travel to the engine as one private keyword argument, which
neither the trace nor the cache sees: who pays for a call does not change its answer.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Final, Literal, cast

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config

from apikeyrouter.errors import InvalidRequestError
from apikeyrouter.intake import RouteOptions

PLACE: Final = "apikeyrouter"
"""The name under which options stand in a configuration, and travel as a keyword argument."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingOptions:
    """Options of one call; None leaves it to the model's own. `timeout` in seconds over all attempts, `max_cost` in
    dollars, `session` names a conversation, `wait` False refuses at once instead of waiting for room.
    """

    objective: object = None
    tenant: str | None = None
    user: str | None = None
    tags: Mapping[str, str] | None = None
    session: str | None = None
    priority: int | None = None
    max_cost: Decimal | str | None = None
    provider: str | None = None
    timeout: float | None = None
    wait: bool | None = None
    request_id: str | None = None
    correlation_id: str | None = None

    @classmethod
    def of(cls, given: object, where: str) -> RoutingOptions:
        """Options as somebody wrote them. Raises InvalidRequestError for an unknown name."""
        if given is None:
            return NOTHING
        if isinstance(given, RoutingOptions):
            return given
        if not isinstance(given, Mapping):
            raise InvalidRequestError(
                f"{where} is a {type(given).__name__}; write a mapping such as {{'tenant': 'x'}}."
            )
        if not given:
            return NOTHING
        unknown = [str(name)[:40] for name in given if name not in NAMES]
        if unknown:
            raise InvalidRequestError(f"{where} has no option '{unknown[0]}'; it takes {', '.join(sorted(NAMES))}.")
        return cls(**cast("dict[str, Any]", dict(given)))

    def over(self, others: RoutingOptions) -> RoutingOptions:
        """These, and the others where these say nothing."""
        if others is NOTHING:
            return self
        if self is NOTHING:
            return others
        mine = {name: getattr(self, name) for name in NAMES}
        return RoutingOptions(**{n: getattr(others, n) if value is None else value for n, value in mine.items()})

    def said(self) -> RouteOptions:
        """As route() takes them."""
        found = {name: value for name in NAMES if (value := getattr(self, name)) is not None}
        return cast(RouteOptions, found)


NAMES: Final = frozenset(field.name for field in fields(RoutingOptions))
NOTHING: Final = RoutingOptions()
_BODY_TOO: Final = frozenset({"user"})
"""Also a field of a chat body, so that as a call's own keyword argument it means that."""
_OWN: Final = NAMES - _BODY_TOO
_EMPTY: Final[Mapping[str, Any]] = {}


def taken(kwargs: dict[str, Any], config: RunnableConfig | None, *, affine: bool) -> RoutingOptions:
    """The options of one call, taken out of its keyword arguments."""
    found = taken_from(kwargs)
    settings = _part(config, "configurable")
    if PLACE in settings:
        found = found.over(RoutingOptions.of(settings[PLACE], f"configurable['{PLACE}']"))
    context = _context()
    if context is not None:
        found = found.over(RoutingOptions.of(context, f"the context's {PLACE}"))
    metadata = _part(config, "metadata")
    if PLACE in metadata:
        found = found.over(RoutingOptions.of(metadata[PLACE], f"metadata['{PLACE}']"))
    if affine and "thread_id" in settings:
        found = found.over(RoutingOptions(session=str(settings["thread_id"])[:256] or None))
    return found


def taken_from(kwargs: dict[str, Any]) -> RoutingOptions:
    """The options among keyword arguments, taken out of them."""
    if not kwargs:
        return NOTHING
    found = RoutingOptions.of(kwargs.pop(PLACE, None), f"the argument '{PLACE}'")
    own = {name: kwargs.pop(name) for name in _OWN & kwargs.keys()}
    return RoutingOptions.of(own, "the call").over(found) if own else found


def _part(config: RunnableConfig | None, name: Literal["configurable", "metadata"]) -> Mapping[str, Any]:
    """A part of the call's configuration, or else of the run around it: a graph's node need not pass it on."""
    found = None if config is None else config.get(name)
    if found is None:
        around = var_child_runnable_config.get()
        found = None if around is None else around.get(name)
    return found or _EMPTY


def _context() -> object:
    """What the running graph's context says under our name, if there is a graph."""
    runtime = sys.modules.get("langgraph.runtime")
    if runtime is None:
        return None
    try:
        context = getattr(runtime.get_runtime(), "context", None)
    except (RuntimeError, KeyError):
        return None
    return context.get(PLACE) if isinstance(context, Mapping) else getattr(context, PLACE, None)
