"""The only place that names LiteLLM's internals, each found by looking for it, never by comparing versions.

Two generations are spoken to: `set_custom_routing_strategy` with `async_get_healthy_deployments` (1.100 to 1.108), and
`register_plugin` with `select`, `registry`, `settings` and `apply` (1.109 and later, where the earlier names are
deprecated and due to go). The filter that runs is always LiteLLM's own (aliases, wildcards, teams, tags, order,
exclusions); only the choice among what it leaves is ours.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from inspect import currentframe
from typing import Any, Final

from apikeyrouter.litellm.guard import require

require()

import litellm  # noqa: E402 - only after the version was looked at

try:
    from litellm import router_api as _api
except ImportError:
    _api = None

NOT_SENT: Final = frozenset(getattr(litellm.types.utils, "all_litellm_params", ())) | {
    "metadata", "litellm_metadata", "api_key", "api_base", "timeout", "original_function", "original_generic_function"
}  # fmt: skip
"""Names in a call's kwargs that LiteLLM keeps to itself; everything else goes to the provider."""
_FILTERED: Final = frozenset({"_target_order", "_excluded_deployment_ids", "_retry_skipped_deployment_ids"})
"""What LiteLLM's filter takes out of a call's kwargs when it has looked at it."""
_CHATS: Final = frozenset(
    f"{prefix}{name}" for prefix in ("", "a", "_", "_a") for name in ("completion", "text_completion")
)
_MOST_FRAMES: Final = 12
_NOTHING: Final[Mapping[str, Any]] = {}
Deployment = dict[str, Any]
Kwargs = dict[str, Any]
LiteLLMRouter = Any
_PLUGINS: Final = ("routing", "auto", "complexity", "adaptive", "quality")
_PLUGIN_ATTRIBUTES: Final = (
    "routing_plugins", "auto_routers", "complexity_routers", "adaptive_routers", "quality_routers"
)  # fmt: skip
Filter = Callable[[LiteLLMRouter, str, Kwargs, Any, Any, bool | None], Awaitable[Any]]


def attach(router: LiteLLMRouter, strategy: object) -> None:
    """Make the strategy the router's, whichever generation it is; again and again is harmless."""
    register = getattr(router, "register_plugin", None) or router.set_custom_routing_strategy
    register(strategy)


def listen(strategy: object) -> None:
    """Have the strategy's callbacks called."""
    if not any(callback is strategy for callback in litellm.callbacks):
        litellm.logging_callback_manager.add_litellm_callback(strategy)


def cooldowns_off(router: LiteLLMRouter) -> None:
    """Whole deployments are not put aside for one 429; the engine knows which limit is spent, and until when."""
    if hasattr(router, "settings"):
        router.apply(_api.ChangeSet(assign={"disable_cooldowns": True}))
    elif hasattr(router, "disable_cooldowns"):
        router.disable_cooldowns = True


def filter_of(router: LiteLLMRouter) -> Filter:
    """The router's own filter: what it leaves of a model's deployments, or the one that the caller named.

    Called with (router, model, kwargs, messages, input, specific_deployment); the router is not kept.
    """
    return _by_select if hasattr(router, "select") else _by_healthy


def _by_select(
    router: LiteLLMRouter, model: str, kwargs: Kwargs, messages: Any, given: Any, specific: bool | None
) -> Awaitable[Any]:
    found: Awaitable[Any] = router.select(
        model, kwargs, kind="healthy", messages=messages, input=given, specific_deployment=specific
    )
    return found


def _by_healthy(
    router: LiteLLMRouter, model: str, kwargs: Kwargs, messages: Any, given: Any, specific: bool | None
) -> Awaitable[Any]:
    found: Awaitable[Any] = router.async_get_healthy_deployments(
        model=model, request_kwargs=kwargs, messages=messages, input=given, specific_deployment=specific
    )
    return found


def healthy_now(
    router: LiteLLMRouter, model: str, kwargs: Kwargs, messages: Any, given: Any, specific: bool | None
) -> list[Deployment] | Deployment:
    """The same for calls without a loop, from the parts of LiteLLM's synchronous path; else all of the model's."""
    if not hasattr(router, "_common_checks_available_deployment"):
        named = router.registry().deployments if hasattr(router, "registry") else router.get_model_list
        return list(named(model_name=model) or ())
    if _plugins(router):
        raise ValueError("This LiteLLM Router has plugins, which run in calls with await only; call it with await.")
    more = {"messages": messages, "input": given}
    model, pool = router._common_checks_available_deployment(
        model=model, request_kwargs=kwargs, specific_deployment=specific, **more
    )
    if isinstance(pool, dict):
        if (pool.get("model_info") or _NOTHING).get("blocked") is True:
            said = f"Model '{model}' is paused and takes no requests."
            raise litellm.ServiceUnavailableError(message=said, model=model, llm_provider="")
        return pool
    if hasattr(router, "_filter_health_check_unhealthy_deployments"):
        pool = router._filter_health_check_unhealthy_deployments(healthy_deployments=pool, parent_otel_span=None)
    if hasattr(router, "_filter_blocked_deployments"):
        pool = router._filter_blocked_deployments(pool)
    if _checks_before(router) and (messages is not None or given is not None):
        pool = router._pre_call_checks(model=model, healthy_deployments=pool, request_kwargs=kwargs, **more)
    left = _excluding(_in_order(pool, kwargs), kwargs)
    if not left:
        raise litellm.types.router.RouterRateLimitErrorBasic(model=model)
    return left


def _plugins(router: LiteLLMRouter) -> bool:
    """Whether plugins may change what is asked for."""
    if hasattr(router, "registry"):
        return bool(router.registry().plugins("routing"))
    return bool(getattr(router, "routing_plugins", None))


def _checks_before(router: LiteLLMRouter) -> bool:
    """Whether deployments are left out that a call does not fit, by their context windows."""
    own = router.settings() if hasattr(router, "settings") else router
    return bool(getattr(own, "enable_pre_call_checks", False))


def _in_order(pool: list[Deployment], kwargs: Kwargs) -> list[Deployment]:
    """Only the deployments of the `order` whose turn it is."""
    target = kwargs.pop("_target_order", None)
    names = ("get_order_filtered_deployments", "_get_order_filtered_deployments")
    filtered = next((getattr(litellm.utils, name) for name in names if hasattr(litellm.utils, name)), None)
    ordered: list[Deployment] = pool if filtered is None else filtered(pool, target_order=target)
    return ordered


def _excluding(pool: list[Deployment], kwargs: Kwargs) -> list[Deployment]:
    tried = kwargs.pop("_excluded_deployment_ids", None) or ()
    refused = kwargs.pop("_retry_skipped_deployment_ids", None) or ()
    left = [d for d in pool if d["model_info"]["id"] not in tried]
    return [d for d in left if d["model_info"]["id"] not in refused] or left


def has_pre_routing(router: LiteLLMRouter) -> bool:
    """Whether something may change the model before a deployment is picked (auto routers, plugins)."""
    registry = getattr(router, "registry", None)
    if registry is not None:
        return any(map(registry().plugins, _PLUGINS))
    return any(map(router.__dict__.get, _PLUGIN_ATTRIBUTES))


async def pre_routed(router: LiteLLMRouter, model: str, kwargs: Kwargs, messages: Any, given: Any) -> tuple[str, Any]:
    """Model and messages after LiteLLM's pre-routing hook, which a custom strategy would otherwise silence.

    What the hook wants sent with the call (a tier's own parameters) is in the kwargs afterwards.
    """
    context = getattr(_api, "RoutingContext", None)
    hook = router.async_pre_routing_hook if context is None else context(router).pre_routing_hook
    answer = await hook(model=model, request_kwargs=kwargs, messages=messages, input=given)
    if answer is None:
        return model, messages
    if answer.litellm_params:
        _pin(router, answer.model, dict(answer.litellm_params), kwargs, given is not None and messages is None)
    return answer.model, answer.messages


def _pin(router: LiteLLMRouter, model: str, params: Kwargs, kwargs: Kwargs, responses: bool) -> None:
    """Put a tier's parameters into the call, as far as its model takes them, by LiteLLM's own rules."""
    if hasattr(router, "_pin_tier_params_onto_request"):
        router._pin_tier_params_onto_request(
            model=model, tier_litellm_params=params, request_kwargs=kwargs, responses_call=responses
        )
        return
    accepted = getattr(router, "_tier_params_the_target_accepts", None)
    kwargs.update(params if accepted is None else accepted(model, params, kwargs))


def picks_for_chat() -> bool:
    """Whether a chat or a text is what LiteLLM picks for now, asked of who called.

    It tells a strategy the messages and no more, and puts a word of its own there for calls that have none. A client
    that says the same word is to be told apart, or it would pay for no tokens.
    """
    frame = currentframe()
    for _ in range(_MOST_FRAMES):
        if frame is None:
            return False
        if frame.f_code.co_name in _CHATS and str(frame.f_globals.get("__name__")).startswith("litellm."):
            return True
        frame = frame.f_back
    return False


def brings_credentials(kwargs: Mapping[str, Any]) -> bool:
    """Whether the caller sends with a key of its own: no limit of ours applies to it."""
    return bool(kwargs.get("api_key") or kwargs.get("api_base") or kwargs.get("base_url"))


def for_the_filter(kwargs: Kwargs) -> Mapping[str, Any]:
    """What the filter will take out of the kwargs, for asking it again."""
    if _FILTERED.isdisjoint(kwargs):
        return _NOTHING
    return {name: kwargs[name] for name in kwargs.keys() & _FILTERED}


def timeout_in(params: Mapping[str, Any]) -> float | None:
    """Seconds one call may take, as a call or a deployment says it."""
    value = params.get("timeout") or params.get("request_timeout")
    return None if value is None else _seconds(value)


def first_byte_in(params: Mapping[str, Any]) -> float | None:
    """Seconds a stream may take to begin, where a call or a deployment says that."""
    value = params.get("stream_timeout")
    return None if value is None else _seconds(value)


def timeout_for_all(router: LiteLLMRouter) -> float | None:
    """Seconds one call may take where neither it nor its deployment says so."""
    return _seconds(getattr(router, "request_timeout", None)) or _seconds(getattr(router, "timeout", None))


def first_byte_for_all(router: LiteLLMRouter) -> float | None:
    """Seconds a stream may take to begin where neither it nor its deployment says so."""
    return _seconds(getattr(router, "stream_timeout", None)) or _seconds(getattr(router, "request_timeout", None))


def _seconds(value: object) -> float | None:
    """A number, a text with one, or the reading time of an httpx.Timeout."""
    if not isinstance(value, int | float | str):
        value = getattr(value, "read", None)
    with suppress(TypeError, ValueError, OverflowError):
        seconds = float(value)  # type: ignore[arg-type]  # what is no number is suppressed
        return seconds if seconds > 0 else None
    return None


def provider_of(params: Mapping[str, Any]) -> tuple[str, str]:
    """(provider, its model name) of a deployment's litellm_params."""
    model = str(params.get("model", ""))
    with suppress(Exception):
        found = litellm.get_llm_provider(
            model=model, custom_llm_provider=params.get("custom_llm_provider"), api_base=params.get("api_base")
        )
        return str(found[1]), str(found[0])
    head, slash, rest = model.partition("/")
    return (head, rest) if slash else ("openai", model)


def streams_usage(provider: str, model: str) -> bool:
    """Whether a stream of this provider tells its usage only when it is asked to."""
    with suppress(Exception):
        compatible = provider in {"openai", "azure", "text-completion-openai", *litellm.openai_compatible_providers}
        params = litellm.get_supported_openai_params(model=model, custom_llm_provider=provider) or ()
        return compatible and "stream_options" in params
    return False


def deployments(router: LiteLLMRouter) -> list[Deployment]:
    """Every deployment the router has now."""
    registry = getattr(router, "registry", None)
    return list(router.model_list if registry is None else registry().all())


def setting(name: str) -> object:
    """A setting of `litellm_settings`, which LiteLLM keeps as attributes of its package; None where there is none."""
    return getattr(litellm, name, None)


def secret_named(name: str) -> str:
    """The text that `os.environ/NAME` (or a secret manager's name) stands for, as LiteLLM reads it."""
    return str(litellm.get_secret_str(name) or "") if name.startswith("os.environ/") else name
