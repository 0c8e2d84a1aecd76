"""OpenAI's API, and every API of its shape: Azure, Groq, Mistral, DeepSeek, OpenRouter, Together, xAI, vLLM and others.

The dialect (error codes, quota headers, where usage is) follows from the address or from `dialect=`. Bodies pass
through untouched except for `model`, `stream` and, in streams, `stream_options.include_usage`, without which no stream
could be settled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, Unpack
from urllib.parse import quote

from apikeyrouter.adapters.dialect import Dialect, dialect, dialect_for, tells_limits
from apikeyrouter.adapters.http import Outgoing, RawHeaders, Wire, WireOptions
from apikeyrouter.adapters.jsonhttp import (
    USER_AGENT,
    EventReader,
    HTTPAdapter,
    encoded,
    header,
    raw_headers,
    secret_header,
)
from apikeyrouter.adapters.narrow import items, mapping, text
from apikeyrouter.adapters.openai_shape import ChatReader, ResponsesReader, content_of, hidden_failure
from apikeyrouter.core.failure import Failure
from apikeyrouter.core.model import Capabilities
from apikeyrouter.errors import InvalidConfigurationError, InvalidRequestError
from apikeyrouter.ports import Body, Call, SecretSource

PATHS: Final[Mapping[str, str]] = {
    "chat": "/chat/completions",
    "completion": "/completions",
    "embeddings": "/embeddings",
    "responses": "/responses",
    "models": "/models",
}
_NEEDED: Final = {
    "chat": ("messages",),
    "completion": ("prompt",),
    "embeddings": ("input",),
    "responses": ("input", "prompt"),
}
_FEATURES: Final = frozenset(
    {"streaming", "tools", "images", "audio", "documents", "json_schema", "json_mode", "reasoning"}
)
"""What the shape can carry. A server that cannot do one of these says so itself, unless its table does."""
_JSON: Final[RawHeaders] = [
    (b"content-type", b"application/json"),
    (b"accept", b"application/json, text/event-stream"),
    (b"accept-encoding", b"gzip, deflate"),
    USER_AGENT,
]


class OpenAIAdapter(HTTPAdapter):
    """One address that speaks the OpenAI shape.

    `dialect` names a table (see `apikeyrouter.adapters.dialect.names()`); without it the address decides. `api_version`
    switches to Azure's deployment addresses, where `deployments` maps model names to deployments (default: the same
    name). `auth` is how the key travels: "bearer", or "api-key" (Azure's default). `features` are what this server can
    do, where that is less than the shape can carry, `max_output_tokens` the longest answer it gives: requests that need
    more go elsewhere. Raises InvalidConfigurationError for an address that is neither https nor loopback, unless
    `allow_http`.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        dialect: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        api_version: str | None = None,
        deployments: Mapping[str, str] | None = None,
        auth: Literal["bearer", "api-key"] | None = None,
        headers: Mapping[str, str] | None = None,
        features: Iterable[str] | None = None,
        max_output_tokens: int | None = None,
        clock: Callable[[], float] = time.time,
        **wire: Unpack[WireOptions],
    ) -> None:
        speech = _speech(base_url, dialect, api_version)
        super().__init__(Wire(_address(base_url, speech), **wire), speech=speech, clock=clock)
        self._api_version = api_version
        self._deployments = deployments or {}
        self._auth = auth or text(speech.options.get("auth")) or "bearer"
        extra = {**(headers or {}), "openai-organization": organization, "openai-project": project}
        self._fixed: RawHeaders = [*_JSON, *(header(name, value) for name, value in extra.items() if value)]
        self._stream_usage = speech.options.get("stream_usage") is not False
        self.capabilities = _capabilities(speech, features, max_output_tokens)

    def check(self, operation: str, body: Body) -> None:
        """Raise InvalidRequestError for an unknown operation or a body without its one needed field."""
        super().check(operation, body)
        needed = _NEEDED.get(operation, ())
        if needed and all(body.get(name) is None for name in needed):
            raise InvalidRequestError(f"the body of '{operation}' has no '{needed[0]}'; add it")
        if operation == "chat" and not isinstance(body.get("messages"), list | tuple):
            raise InvalidRequestError("'messages' of a chat is not a list; write [{'role': 'user', 'content': '...'}]")

    def prepare(self, call: Call, *, streaming: bool) -> Outgoing:
        """The request of a call; see Adapter."""
        self.check(call.operation, call.body)
        own = [self._key_header(call.secret), *self._fixed]
        if call.operation == "models":
            return Outgoing(method="GET", url=self._url("models", ""), headers=raw_headers(call.headers, own))
        return Outgoing(
            method="POST",
            url=self._url(call.operation, call.model),
            headers=raw_headers(call.headers, own),
            content=encoded(self._payload(call, streaming=streaming)),
        )

    def _payload(self, call: Call, *, streaming: bool) -> dict[str, object]:
        payload: dict[str, object] = {**call.body, "model": call.model}
        if not streaming:
            payload.pop("stream", None)
            payload.pop("stream_options", None)
            return payload
        payload["stream"] = True
        if self._stream_usage and call.operation != "responses":
            payload["stream_options"] = {**mapping(payload.get("stream_options")), "include_usage": True}
        return payload

    def events(self, call: Call) -> EventReader | None:
        """A reader for the call's stream."""
        classify = self._classifier(call)
        if call.operation == "responses":
            return ResponsesReader(self.speech.usage, classify)
        if call.operation in ("chat", "completion"):
            asked = mapping(call.body.get("stream_options")).get("include_usage") is True
            return ChatReader(self.speech.usage, classify, usage_asked=asked)
        return None

    def _classifier(self, call: Call) -> Callable[[object], Failure]:
        return lambda raw: self.classified(200, {}, raw, call.secret.reveal())

    def complete(self, operation: str, raw: object) -> Failure | None:
        """A failure that a 200 hides; see HTTPAdapter."""
        if operation == "responses" and mapping(raw).get("status") == "failed":
            return self.classify(200, {}, raw)
        return hidden_failure(operation, raw)

    def content(self, operation: str, body: object) -> object:
        """Text, vectors or model ids."""
        return content_of(operation, body)

    def estimate_cost(self, operation: str, body: Body) -> int | None:
        """A list of models is free; elsewhere tokens decide."""
        return 0 if operation == "models" else None

    def probe_request(self, call: Call) -> Outgoing | None:
        """The list of models."""
        return Outgoing(
            method="GET", url=self._url("models", ""), headers=[self._key_header(call.secret), *self._fixed]
        )

    def _key_header(self, secret: SecretSource) -> tuple[bytes, bytes]:
        if self._auth == "api-key":
            return secret_header("api-key", "", secret)
        return secret_header("authorization", "Bearer ", secret)

    def _url(self, operation: str, model: str) -> str:
        path = PATHS[operation]
        if self._api_version is None:
            return self.wire.base_url + path
        if operation in ("models", "responses"):
            return f"{self.wire.base_url}/openai{path}?api-version={quote(self._api_version)}"
        deployment = quote(self._deployments.get(model, model), safe="")
        return f"{self.wire.base_url}/openai/deployments/{deployment}{path}?api-version={quote(self._api_version)}"


def _speech(base_url: str | None, name: str | None, api_version: str | None) -> Dialect:
    if name is not None:
        return dialect(name)
    if api_version is not None:
        return dialect("azure")
    return dialect_for(base_url, "openai") if base_url is not None else dialect("openai")


def _address(base_url: str | None, speech: Dialect) -> str:
    address = base_url if base_url is not None else speech.base_url
    if address is None:
        raise InvalidConfigurationError(f"the {speech.name} dialect has no address of its own; give base_url")
    return address


def _capabilities(speech: Dialect, stated: Iterable[str] | None, longest: int | None) -> Capabilities:
    operations = frozenset(text(name) for name in items(speech.options.get("operations"))) or frozenset(PATHS)
    features = frozenset(text(name) for name in items(speech.options.get("features"))) or _FEATURES
    if stated is not None:
        unknown = sorted(frozenset(stated) - _FEATURES)
        if unknown:
            raise InvalidConfigurationError(f"feature '{unknown[0]}' is unknown; use {', '.join(sorted(_FEATURES))}")
        features = frozenset(stated)
    return Capabilities(features=features | tells_limits(speech), operations=operations, max_output_tokens=longest)
