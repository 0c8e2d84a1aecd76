"""Anthropic's Messages API: canonical chats converted both ways, and the native shape untouched (`messages`).

API version 2026-10-21 rejects temperature, top_p and top_k, even at their defaults; 2023-06-01 still carries them. So
each request goes out under the version that can express it, unless one is pinned.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final, Literal, Unpack

from apikeyrouter.adapters.anthropic_reply import MessageReader, NativeReader, hidden_failure, model_list, to_completion
from apikeyrouter.adapters.anthropic_request import sampled, to_messages, without_sampling
from apikeyrouter.adapters.canonical import cannot
from apikeyrouter.adapters.dialect import dialect
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
from apikeyrouter.adapters.narrow import mapping, mappings
from apikeyrouter.adapters.openai_shape import content_of
from apikeyrouter.core.failure import Failure
from apikeyrouter.core.model import Capabilities
from apikeyrouter.errors import InvalidRequestError
from apikeyrouter.ports import Body, Call, SecretSource

LATEST: Final = "2026-10-21"
WITH_SAMPLING: Final = "2023-06-01"
_BASE: Final[RawHeaders] = [
    (b"content-type", b"application/json"),
    (b"accept", b"application/json, text/event-stream"),
    (b"accept-encoding", b"gzip, deflate"),
    USER_AGENT,
]
_PATHS: Final = {"chat": "/v1/messages", "messages": "/v1/messages", "models": "/v1/models"}


class AnthropicAdapter(HTTPAdapter):
    """Operations chat (canonical), messages (native) and models.

    `version` pins the API version. `auth` is how the key travels: "x-api-key", or "bearer". `default_max_tokens` is
    sent where a request names none, because this API demands a number. `betas` are its beta features.
    """

    capabilities = Capabilities(
        features=frozenset({"streaming", "tools", "images", "json_schema", "documents", "reasoning", "rate_limit"}),
        operations=frozenset(_PATHS),
    )

    def __init__(
        self,
        base_url: str = "https://api.anthropic.com",
        *,
        version: str | None = None,
        auth: Literal["x-api-key", "bearer"] = "x-api-key",
        default_max_tokens: int = 4096,
        betas: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
        **wire: Unpack[WireOptions],
    ) -> None:
        super().__init__(Wire(base_url.removesuffix("/v1"), **wire), speech=dialect("anthropic"), clock=clock)
        self._version = version
        self._auth = auth
        self._default_max_tokens = default_max_tokens
        extra = {**(headers or {}), "anthropic-beta": ",".join(betas)}
        self._fixed: RawHeaders = [*_BASE, *(header(name, value) for name, value in extra.items() if value)]

    def check(self, operation: str, body: Body) -> None:
        """Raise InvalidRequestError for an unknown operation, or a body this API cannot express."""
        super().check(operation, body)
        if operation == "chat":
            self._payload("chat", "model", body)
        elif operation == "messages" and not isinstance(body.get("messages"), list | tuple):
            raise InvalidRequestError("'messages' is not a list; write [{'role': 'user', 'content': '...'}]")

    def prepare(self, call: Call, *, streaming: bool) -> Outgoing:
        """The request of a call; see Adapter."""
        super().check(call.operation, call.body)
        url = self.wire.base_url + _PATHS[call.operation]
        if call.operation == "models":
            own = self._headers(call.secret, self._version or LATEST)
            return Outgoing(method="GET", url=url, headers=raw_headers(call.headers, own))
        payload, version = self._payload(call.operation, call.model, call.body)
        if streaming:
            payload["stream"] = True
        own = self._headers(call.secret, version)
        return Outgoing(method="POST", url=url, headers=raw_headers(call.headers, own), content=encoded(payload))

    def _payload(self, operation: str, model: str, body: Body) -> tuple[dict[str, object], str]:
        """What to send, and under which version."""
        if operation == "messages":
            payload: dict[str, object] = {"max_tokens": self._default_max_tokens, **body, "model": model}
            payload.pop("stream", None)
        else:
            payload = to_messages(body, model, self._default_max_tokens)
        if not sampled(payload):
            return without_sampling(payload), self._version or LATEST
        if self._version not in (None, WITH_SAMPLING):
            cannot("temperature, top_p or top_k", f"leave them out, or do not pin API version {self._version}")
        return payload, WITH_SAMPLING

    def _headers(self, secret: SecretSource, version: str) -> RawHeaders:
        if self._auth == "bearer":
            key = secret_header("authorization", "Bearer ", secret)
        else:
            key = secret_header("x-api-key", "", secret)
        return [key, (b"anthropic-version", version.encode("ascii")), *self._fixed]

    def events(self, call: Call) -> EventReader | None:
        """A reader for the call's stream."""

        def classify(raw: object) -> Failure:
            return self.classified(200, {}, raw, call.secret.reveal())

        if call.operation == "messages":
            return NativeReader(self.speech.usage, classify)
        if call.operation == "chat":
            asked = mapping(call.body.get("stream_options")).get("include_usage") is True
            return MessageReader(self.speech.usage, classify, created=self.clock(), usage_asked=asked)
        return None

    def complete(self, operation: str, raw: object) -> Failure | None:
        """A failure that a 200 hides; see HTTPAdapter."""
        return hidden_failure(raw) if operation != "models" else None

    def normalize(self, operation: str, raw: object) -> object:
        """The answer in canonical shape; `messages` stays native."""
        if operation == "chat":
            return to_completion(mapping(raw), self.clock(), self.usage("chat", raw))
        return model_list(raw) if operation == "models" else raw

    def content(self, operation: str, body: object) -> object:
        """Text, or model ids."""
        if operation == "messages":
            said = (block.get("text") for block in mappings(mapping(body).get("content")))
            return "".join(piece for piece in said if isinstance(piece, str))
        return content_of(operation, body)

    def estimate_cost(self, operation: str, body: Body) -> int | None:
        """A list of models is free; elsewhere tokens decide."""
        return 0 if operation == "models" else None

    def probe_request(self, call: Call) -> Outgoing | None:
        """The list of models, one of them."""
        headers = self._headers(call.secret, self._version or LATEST)
        return Outgoing(method="GET", url=f"{self.wire.base_url}/v1/models?limit=1", headers=headers)
