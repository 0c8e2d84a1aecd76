"""`apikeyrouter/<model>` as a LiteLLM model: chats, streams, tools and embeddings over our own adapters.

    register(engine)                                              # in a Proxy: custom_provider_map in config.yaml
    litellm.completion(model="apikeyrouter/openai/gpt-4o-mini", messages=[...])

What follows the first slash is a model as the engine knows it: `provider/model`, or an alias. The engine chooses the
key, fails over and waits; LiteLLM gets the answer, or the last error with the provider's status and retry-after.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from math import ceil
from typing import Any, Final

import httpx

from apikeyrouter.errors import ApiKeyRouterError, ProviderError
from apikeyrouter.facade import ApiKeyRouter
from apikeyrouter.intake import RouteOptions
from apikeyrouter.litellm.asking import caller_of
from apikeyrouter.litellm.guard import require
from apikeyrouter.litellm.shared import SHARED
from apikeyrouter.ports import Chunk

require()

import litellm  # noqa: E402 - only after the version was looked at
from litellm import EmbeddingResponse, ModelResponse  # noqa: E402
from litellm.llms.custom_llm import CustomLLM, CustomLLMError  # noqa: E402
from litellm.types.utils import ModelResponseStream  # noqa: E402

PROVIDER: Final = "apikeyrouter"
_OF_LITELLM: Final = frozenset({"stream", "max_retries", "extra_headers", "extra_body"})
"""Options that are LiteLLM's, not the provider's."""


class ApiKeyRouterLLM(CustomLLM):
    """LiteLLM's custom provider over an engine: its own, else the one this process is configured with."""

    def __init__(self, engine: ApiKeyRouter | None = None) -> None:
        super().__init__()
        self._engine = engine

    @property
    def engine(self) -> ApiKeyRouter:
        return SHARED.get() if self._engine is None else self._engine

    # -- chats ------------------------------------------------------------------------------------------------------

    async def acompletion(self, *, model: str, messages: list[Any], **given: Any) -> Any:
        try:
            reply = await self.engine.route(_body(model, given, messages=messages), **_options(given))
        except ApiKeyRouterError as error:
            raise told(error) from error
        return _answer(ModelResponse(**_mapping(reply.body)), reply)

    def completion(self, *, model: str, messages: list[Any], **given: Any) -> Any:
        try:
            reply = self.engine.sync.route(_body(model, given, messages=messages), **_options(given))
        except ApiKeyRouterError as error:
            raise told(error) from error
        return _answer(ModelResponse(**_mapping(reply.body)), reply)

    async def astreaming(self, *, model: str, messages: list[Any], **given: Any) -> AsyncIterator[Any]:
        end = _End()
        try:
            async with self.engine.stream(_streamed(model, given, messages), **_options(given)) as stream:
                async for chunk in stream:
                    for piece in end.pieces(chunk):
                        yield piece
        except ApiKeyRouterError as error:
            raise told(error) from error
        yield end.last()

    def streaming(self, *, model: str, messages: list[Any], **given: Any) -> Iterator[Any]:
        end = _End()
        try:
            for chunk in self.engine.sync.stream(_streamed(model, given, messages), **_options(given)):
                yield from end.pieces(chunk)
        except ApiKeyRouterError as error:
            raise told(error) from error
        yield end.last()

    # -- embeddings ---------------------------------------------------------------------------------------------------

    async def aembedding(self, *, model: str, input: Any, **given: Any) -> Any:
        options: RouteOptions = {**_options(given), "operation": "embeddings"}
        try:
            reply = await self.engine.route(_body(model, given, input=input), **options)
        except ApiKeyRouterError as error:
            raise told(error) from error
        return _answer(EmbeddingResponse(**_mapping(reply.body)), reply)

    def embedding(self, *, model: str, input: Any, **given: Any) -> Any:
        options: RouteOptions = {**_options(given), "operation": "embeddings"}
        try:
            reply = self.engine.sync.route(_body(model, given, input=input), **options)
        except ApiKeyRouterError as error:
            raise told(error) from error
        return _answer(EmbeddingResponse(**_mapping(reply.body)), reply)


class _End:
    """Keeps back how a stream ended until its usage is known.

    LiteLLM stops reading a custom provider at the first piece with a finish reason, and usage comes after it.
    """

    __slots__ = ("reason", "usage")

    def __init__(self) -> None:
        self.reason = "stop"
        self.usage: Mapping[str, Any] | None = None

    def pieces(self, chunk: Chunk) -> Iterator[ModelResponseStream]:
        """What of a chunk a caller gets now."""
        data = dict(chunk.data)
        usage, choices = data.pop("usage", None), data.get("choices")
        if isinstance(usage, Mapping):
            self.usage = usage
        if not isinstance(choices, list) or not choices:
            return
        for choice in choices:
            self.reason = choice.get("finish_reason") or self.reason
        data["choices"] = [{**choice, "finish_reason": None} for choice in choices]
        if any(choice.get("delta") for choice in choices):
            yield ModelResponseStream(**data)

    def last(self) -> dict[str, Any]:
        """The end, in LiteLLM's older shape, which alone carries reason and usage together."""
        numbers = ("prompt_tokens", "completion_tokens", "total_tokens")
        counted = None if self.usage is None else {name: self.usage.get(name) or 0 for name in numbers}
        end = {"text": "", "is_finished": True, "finish_reason": self.reason, "index": 0}
        return {**end, "tool_use": None, "usage": counted}


def _body(model: str, given: Mapping[str, Any], **content: Any) -> dict[str, Any]:
    asked: Mapping[str, Any] = given.get("optional_params") or {}
    extra = asked.get("extra_body") or {}
    plain = {name: value for name, value in asked.items() if name not in _OF_LITELLM}
    return {"model": model, **content, **plain, **extra}


def _streamed(model: str, given: Mapping[str, Any], messages: list[Any]) -> dict[str, Any]:
    body = _body(model, given, messages=messages)
    return {**body, "stream_options": {**(body.get("stream_options") or {}), "include_usage": True}}


def _options(given: Mapping[str, Any]) -> RouteOptions:
    """Whom a call is for, from LiteLLM's metadata, and how long it may take."""
    params = given.get("litellm_params") or {}
    caller = caller_of({"metadata": params.get("metadata") or {}})
    options: RouteOptions = {"tenant": caller.tenant, "user": caller.user, "tags": caller.tags}
    objective, most = caller.options.get("objective"), caller.options.get("max_cost")
    if objective is not None:
        options["objective"] = objective
    if most is not None:
        options["max_cost"] = str(most)
    seconds = given.get("timeout")
    if isinstance(seconds, int | float) and seconds > 0:
        options["timeout"] = float(seconds)
    return options


def _answer(response: Any, reply: Any) -> Any:
    """The answer with what LiteLLM and its callers may want to know of it."""
    metadata = reply.metadata
    hidden = response._hidden_params
    hidden["additional_headers"] = dict(reply.headers)
    hidden["apikeyrouter"] = {
        "decision_id": metadata.decision_id,
        "key": metadata.key_used,
        "waited_s": metadata.waited_s,
    }
    if metadata.cost is not None:
        hidden["response_cost"] = float(metadata.cost)
    return response


def told(error: ApiKeyRouterError) -> CustomLLMError:
    """The error LiteLLM sorts by status, with headers where it looks for them."""
    status = error.status if isinstance(error, ProviderError) and error.status else error.http_status
    status = 429 if error.code == "QUOTA_EXHAUSTED" else status
    headers = {} if error.retry_after is None else {"retry-after": str(max(1, ceil(error.retry_after)))}
    made = CustomLLMError(status_code=status, message=f"{error.message} [{error.code}]")
    request = httpx.Request("POST", "http://apikeyrouter")
    made.response = httpx.Response(status, headers=headers, request=request)  # type: ignore[attr-defined]
    made.headers = headers  # type: ignore[attr-defined]
    return made


def _mapping(body: object) -> dict[str, Any]:
    return dict(body) if isinstance(body, Mapping) else {}


provider = ApiKeyRouterLLM()


def register(engine: ApiKeyRouter | None = None, *, name: str = PROVIDER) -> ApiKeyRouterLLM:
    """Make `name/<model>` known to this process's LiteLLM, over this engine or the process's configured one."""
    handler = provider if engine is None else ApiKeyRouterLLM(engine)
    others = [known for known in litellm.custom_provider_map if known["provider"] != name]
    litellm.custom_provider_map = [*others, {"provider": name, "custom_handler": handler}]
    litellm.utils.custom_llm_setup()
    return handler
