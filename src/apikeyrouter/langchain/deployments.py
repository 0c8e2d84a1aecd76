"""LangChain's models as the engine's keys: what each is called, and how it is made fit to be one of many.

A model of a pool must not retry by itself (the router would hear only the last of several failures), must say the
usage of a stream, and must let its headers be heard. The caller's own objects are never changed: copies are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast

from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr

from apikeyrouter.enrolment import Enrolment, KeyOptions
from apikeyrouter.errors import InvalidConfigurationError, MissingDependencyError
from apikeyrouter.langchain.listening import Listening, listen

_KEY_OPTIONS: Final = tuple(name for name in KeyOptions.__annotations__ if name not in ("id", "metadata", "quality"))
_UNFIT: Final = re.compile(r"[^a-z0-9_-]+")


@dataclass(frozen=True, slots=True, eq=False)
class ChatDeployment:
    """One chat model with its one key. `options` are those of register_key(): limits, pool, tags, tier, weight...

    `provider` and `name` default to what the model says of itself.
    """

    id: str
    model: BaseChatModel = field(repr=False)
    provider: str = ""
    name: str = ""
    options: KeyOptions = field(default_factory=KeyOptions, repr=False)


Models: TypeAlias = "Sequence[BaseChatModel | ChatDeployment] | Mapping[str, BaseChatModel | ChatDeployment]"


Keys = Mapping[str, str | SecretStr] | Sequence[str | SecretStr]


def made_of(model: str, keys: Keys, fields: Mapping[str, Any]) -> list[ChatDeployment]:
    """A chat model of LangChain for each key. Raises MissingDependencyError without the `langchain` package."""
    try:
        from langchain.chat_models import init_chat_model  # only here: langchain-core is enough for the rest
    except ModuleNotFoundError:
        raise MissingDependencyError(
            "from_keys() needs langchain, which is not installed: pip install 'apikeyrouter[langchain]'"
        ) from None
    options, rest = options_in(fields)
    if model.partition(":")[0] == "openai":
        rest.setdefault("stream_usage", True)
    return [
        ChatDeployment(
            name,
            init_chat_model(model, api_key=key, max_retries=0, **rest),
            options=options,
        )
        for name, key in named_keys(keys)
    ]


def named_keys(keys: Keys) -> Iterable[tuple[str, str | SecretStr]]:
    """Ids with their secrets; those of a list are numbered."""
    return keys.items() if isinstance(keys, Mapping) else ((f"key-{at}", key) for at, key in enumerate(keys, start=1))


def options_in(fields: Mapping[str, Any]) -> tuple[KeyOptions, dict[str, Any]]:
    """What is register_key()'s among fields, and the rest."""
    options = {name: value for name, value in fields.items() if name in _KEY_OPTIONS}
    rest = {name: value for name, value in fields.items() if name not in _KEY_OPTIONS}
    return cast(KeyOptions, options), rest


def deployments_of(models: Models, overrides: Mapping[str, Any]) -> list[ChatDeployment]:
    """Deployments, fit for a pool; models without a name are numbered. Raises InvalidConfigurationError for none."""
    given = models.items() if isinstance(models, Mapping) else ((None, model) for model in models)
    found = [_fit(name, model, at, overrides) for at, (name, model) in enumerate(given, start=1)]
    if not found:
        raise InvalidConfigurationError("A pool needs at least one model; pass from_models([ChatOpenAI(...), ...]).")
    return found


def _fit(name: str | None, given: BaseChatModel | ChatDeployment, at: int, more: Mapping[str, Any]) -> ChatDeployment:
    one = given if isinstance(given, ChatDeployment) else ChatDeployment(name or "", given)
    told = one.model._get_ls_params()
    provider = _UNFIT.sub("-", (one.provider or str(told.get("ls_provider") or "unknown")).lower())
    fit = fitted(one.model, more)
    listen(fit)
    own_name = one.name or str(told.get("ls_model_name") or "unknown")
    return ChatDeployment(one.id or f"{provider}-{at}", fit, provider, own_name, one.options)


def fitted(model: BaseChatModel, overrides: Mapping[str, Any]) -> BaseChatModel:
    """A copy that tries once, tells the usage of streams, and has `overrides` where it has such fields."""
    known = type(model).model_fields
    wanted = {"max_retries": 0, "stream_usage": True, **overrides}
    changes = {name: value for name, value in wanted.items() if name in known and value is not None}
    fit = model.model_copy(update=changes)
    for name in ("_client_params", "_client", "_async_client"):  # made from the fields when first used
        fit.__dict__.pop(name, None)
    for root, client in (("root_client", "client"), ("root_async_client", "async_client")):
        made: Any = getattr(fit, root, None)
        if hasattr(made, "with_options"):
            once = made.with_options(max_retries=0)
            setattr(fit, root, once)
            setattr(fit, client, once.chat.completions)
    return fit


def enrol(enrolment: Enrolment, deployments: Iterable[ChatDeployment]) -> None:
    """Make deployments known to the engine as keys without material, which their models keep."""
    for one in deployments:
        if one.provider not in enrolment.adapters:
            price_name = {"google_genai": "gemini"}.get(one.provider, one.provider)
            enrolment.add_provider(one.provider, Listening.of(one.provider), price_name=price_name)
        enrolment.add_key(None, one.provider, {**one.options, "id": one.id})
