"""A LiteLLM call understood: what it weighs, whom it is for, what it may cost and how long it may wait.

Who pays comes from LiteLLM's own authentication where there is one (`user_api_key_*`); only a call that nobody has
authenticated may say in its metadata who it is for, because clients of a Proxy write metadata, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import filterfalse
from typing import Any, Final

from apikeyrouter.core.measure import CAPS, Measure, measure
from apikeyrouter.core.model import NO_TAGS, Request
from apikeyrouter.errors import InvalidRequestError
from apikeyrouter.litellm.compat import NOT_SENT, picks_for_chat
from apikeyrouter.litellm.marks import place_of

OPTIONS: Final = "apikeyrouter"
IN_TIME_S: Final = 0.25
IN_TIME: Final = 0.1
"""A refusal is there so much before the caller's time is over; of a short time, this share before."""
_PLACEHOLDERS: Final = frozenset(
    {"prompt", "default text", "vector-store-api-fake-text", "files-api-fake-text", "batch-api-fake-text"}
)
"""What LiteLLM puts as the only message of calls that have none: images, speech, files, batches. Users say it, too."""
_GENERIC: Final = {"aresponses": "responses", "responses": "responses", "anthropic_messages": "messages"}
_NONE: Final[Mapping[str, Any]] = {}
_BOUNDS: Final = frozenset({"max_tokens", "max_completion_tokens"})
_CAPS: Final[frozenset[str]] = frozenset().union(*CAPS.values())
_COUNTS: Final = _CAPS | {"n", "best_of"}


@dataclass(slots=True)
class Caller:
    """Who a call is for, and the options it came with."""

    tenant: str | None
    user: str | None
    tags: Mapping[str, str]
    options: Mapping[str, Any]


NOBODY: Final = Caller(None, None, NO_TAGS, _NONE)
"""A call that nobody has authenticated and that says nothing of itself."""
_AUTHENTICATED: Final = ("user_api_key_hash", "user_api_key", "user_api_key_user_id", "user_api_key_team_id")
_TELLING: Final = frozenset({OPTIONS, "tags", *_AUTHENTICATED})
"""What in a call's metadata tells whom it is for, or what it asks for."""


def operation_of(messages: Any, given: Any, kwargs: Mapping[str, Any]) -> str:
    """What is asked for, as far as a routing strategy is told."""
    generic = kwargs.get("original_generic_function")
    if generic is not None:
        return _GENERIC.get(getattr(generic, "__name__", ""), "other")
    if messages is None and given is not None:
        # Both have an `input`; LiteLLM leaves it among the kwargs of what it calls generically, which is responses.
        return "responses" if "input" in kwargs else "embeddings"
    if messages is None:
        return "other"
    if "messages" not in kwargs and len(messages) == 1 and _is_placeholder(messages[0]) and not picks_for_chat():
        return "other"
    return "chat"


def _is_placeholder(message: Any) -> bool:
    content = message.get("content") if isinstance(message, dict) else None
    return isinstance(content, str) and content in _PLACEHOLDERS


def measured(operation: str, messages: Any, given: Any, kwargs: Mapping[str, Any], cap: int | None) -> Measure | None:
    """The measure of the call's body, None where it has none that anybody understands; `cap` is the deployment's."""
    if operation == "other":
        return None
    body = {name: kwargs[name] for name in filterfalse(NOT_SENT.__contains__, kwargs)}
    extra = body.pop("extra_body", None)
    if messages is not None:
        body["messages"] = messages
    if given is not None:
        body["input"] = given
    if extra and isinstance(extra, Mapping):
        body.update(extra)  # last, as LiteLLM does
    if cap is not None and _BOUNDS.isdisjoint(body):
        body["max_tokens"] = cap
    dropped = kwargs.get("additional_drop_params")
    if isinstance(dropped, list):
        body = {name: value for name, value in body.items() if name not in _CAPS or name not in dropped}
    try:
        return measure(operation, body)
    except InvalidRequestError:
        return _measured_as_mended(operation, body)


def _measured_as_mended(operation: str, body: Mapping[str, Any]) -> Measure | None:
    """The same after what LiteLLM and some providers put right: roles left out, numbers that are no whole ones."""
    mended = {name: value for name, value in body.items() if name not in _COUNTS}
    mended.update((name, number) for name in _COUNTS & body.keys() if (number := _positive(body[name])))
    messages = body.get("messages")
    if isinstance(messages, list):
        mended["messages"] = [{"role": "user", **each} if isinstance(each, dict) else each for each in messages]
    try:
        return measure(operation, mended)
    except InvalidRequestError:
        return None


def _positive(value: object) -> int | None:
    with suppress(TypeError, ValueError, OverflowError):
        number = int(float(value))  # type: ignore[arg-type]  # what is no number is suppressed
        return number if number > 0 else None
    return None


def caller_of(kwargs: Mapping[str, Any]) -> Caller:
    """Whom the call is for. Tags of LiteLLM are `name`, `name=value` or `name:value`."""
    metadata = kwargs.get(place_of(kwargs)) or _NONE
    if _TELLING.isdisjoint(metadata) and "tags" not in kwargs and "user" not in kwargs:
        return NOBODY
    options = metadata.get(OPTIONS)
    if options is None or not isinstance(options, Mapping):
        options = _NONE
    tags = _tags(metadata, kwargs, options)
    if _is_authenticated(metadata):
        team, alias = metadata.get("user_api_key_team_id"), metadata.get("user_api_key_alias")
        if alias:
            tags = {**tags, "key_alias": str(alias)}
        tenant = team or metadata.get("user_api_key_org_id") or alias
        user = metadata.get("user_api_key_end_user_id") or metadata.get("user_api_key_user_id") or kwargs.get("user")
        return Caller(_text(tenant), _text(user), tags, options)
    return Caller(_text(options.get("tenant")), _text(options.get("user") or kwargs.get("user")), tags, options)


def _is_authenticated(metadata: Mapping[str, Any]) -> bool:
    return any(map(metadata.get, _AUTHENTICATED))


def _tags(metadata: Mapping[str, Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> Mapping[str, str]:
    listed = metadata.get("tags") or kwargs.get("tags")
    own = options.get("tags")
    if not listed and not own:
        return NO_TAGS
    found: dict[str, str] = {}
    for tag in listed if isinstance(listed, list | tuple) else ():
        name, sign, value = str(tag).partition("=" if "=" in str(tag) else ":")
        found[name.strip()] = value.strip() if sign else "true"
    if isinstance(own, Mapping):
        found.update((str(name), str(value)) for name, value in own.items())
    return found


def request_of(
    model: str,
    operation: str,
    caller: Caller,
    kwargs: Mapping[str, Any],
    sending_s: float,
) -> Request:
    """The engine's request, still without its candidates."""
    request = Request(
        model=model,
        operation=operation,
        tenant=caller.tenant,
        user=caller.user,
        tags=caller.tags,
        correlation_id=_text(kwargs.get("litellm_trace_id")),
        request_id=_text(kwargs.get("litellm_call_id")),
        sending_s=sending_s,
    )
    if options := caller.options:
        request.priority = _whole(options.get("priority"))
        request.max_cost = _dollars(options.get("max_cost"))
        request.objective = options.get("objective")
    return request


def is_again(kwargs: Mapping[str, Any]) -> bool:
    """Whether LiteLLM asks for a call that it has asked for before: a retry, or a fallback."""
    metadata = kwargs.get(place_of(kwargs)) or _NONE
    return bool(kwargs.get("fallback_depth") or metadata.get("attempted_retries"))


def due_in(timeout: float) -> float:
    """Seconds from the first pick in which its caller is to have an answer or a refusal.

    LiteLLM's timeout is of one HTTP call, and its clock starts after the pick: a call that waited might take twice as
    long. Who sets it counts from the beginning, on a clock of their own that started before ours.
    """
    return timeout - min(IN_TIME_S, IN_TIME * timeout)


def wait_of(options: Mapping[str, Any], left: float | None, most: float) -> float:
    """Seconds the call may wait for room: what it says itself, never longer than what is `left` of its time or the
    door's bound."""
    asked = options.get("max_wait") if options else None
    own = float(min(asked, most)) if isinstance(asked, int | float) and asked >= 0 else most
    return min(own, most) if left is None else max(0.0, min(own, most, left))


def _text(value: object) -> str | None:
    return None if value is None or value == "" else str(value)


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _dollars(value: object) -> Decimal | None:
    try:
        found = None if value is None else Decimal(str(value))
    except InvalidOperation:
        return None
    return found if found is not None and found.is_finite() and found >= 0 else None
