"""Gemini, by its own API and by Vertex AI: generateContent, its stream, embeddings and models.

The key travels in a header, never in the address, where logs would see it. Vertex takes short-lived tokens: the key's
secret is the token itself, or what `token_source` makes one from (it should cache; it is asked before every request).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, Literal, Unpack
from urllib.parse import quote

from apikeyrouter.adapters.canonical import cannot
from apikeyrouter.adapters.dialect import dialect
from apikeyrouter.adapters.gemini_reply import (
    ContentReader,
    hidden_failure,
    model_list,
    predicted_tokens,
    to_completion,
    to_embeddings,
)
from apikeyrouter.adapters.gemini_request import to_contents
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
from apikeyrouter.adapters.narrow import mapping
from apikeyrouter.adapters.openai_shape import content_of
from apikeyrouter.adapters.token_sources import TokenSource
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.model import Capabilities, Usage
from apikeyrouter.errors import InvalidConfigurationError, InvalidRequestError
from apikeyrouter.ports import Body, Call, SecretSource

_BASE: Final[RawHeaders] = [
    (b"content-type", b"application/json"),
    (b"accept", b"application/json, text/event-stream"),
    (b"accept-encoding", b"gzip, deflate"),
    USER_AGENT,
]
_OPERATIONS: Final = frozenset({"chat", "embeddings", "models"})


class GeminiAdapter(HTTPAdapter):
    """Operations chat, embeddings and models.

    With `project` and `location` it speaks to Vertex AI, whose keys are OAuth access tokens (`auth` "bearer").
    """

    capabilities = Capabilities(
        features=frozenset(
            {"streaming", "tools", "images", "audio", "documents", "json_schema", "json_mode", "reasoning"}
        ),
        operations=_OPERATIONS,
    )

    def __init__(
        self,
        base_url: str | None = None,
        *,
        project: str | None = None,
        location: str | None = None,
        auth: Literal["x-goog-api-key", "bearer"] | None = None,
        token_source: TokenSource | None = None,
        headers: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
        **wire: Unpack[WireOptions],
    ) -> None:
        self._vertex = project is not None or location is not None
        address = _address(base_url, project, location)
        super().__init__(Wire(address, **wire), speech=dialect("vertex" if self._vertex else "gemini"), clock=clock)
        self._auth = auth or ("bearer" if self._vertex else "x-goog-api-key")
        self._token_source = token_source
        self._fixed: RawHeaders = [*_BASE, *(header(name, value) for name, value in (headers or {}).items())]

    def check(self, operation: str, body: Body) -> None:
        """Raise InvalidRequestError for an unknown operation, or a body this API cannot express."""
        super().check(operation, body)
        if operation == "chat":
            to_contents(body, "model")
        elif operation == "embeddings":
            _texts(body)

    async def credentials(self, call: Call) -> Call:
        """The call with the token that its secret stands for."""
        if self._token_source is None:
            return call
        return replace(call, secret=await self._token_source(call.secret))

    def prepare(self, call: Call, *, streaming: bool) -> Outgoing:
        """The request of a call; see Adapter."""
        super().check(call.operation, call.body)
        own = raw_headers(call.headers, self._headers(call.secret))
        if call.operation == "models":
            return Outgoing(method="GET", url=f"{self.wire.base_url}/models", headers=own)
        model = quote(call.model.removeprefix("models/"), safe="")
        if call.operation == "embeddings":
            verb, payload = self._embedding(call)
        else:
            verb = "streamGenerateContent?alt=sse" if streaming else "generateContent"
            payload = to_contents(call.body, call.model)
        url = f"{self.wire.base_url}/models/{model}:{verb}"
        return Outgoing(method="POST", url=url, headers=own, content=encoded(payload))

    def _headers(self, secret: SecretSource) -> RawHeaders:
        if self._auth == "bearer":
            return [secret_header("authorization", "Bearer ", secret), *self._fixed]
        return [secret_header("x-goog-api-key", "", secret), *self._fixed]

    def _embedding(self, call: Call) -> tuple[str, dict[str, object]]:
        texts = _texts(call.body)
        size = call.body.get("dimensions")
        sized = {"outputDimensionality": size} if size is not None else {}
        if self._vertex:
            return "predict", {"instances": [{"content": one} for one in texts], "parameters": sized}
        name = f"models/{call.model.removeprefix('models/')}"
        requests = [{"model": name, "content": {"parts": [{"text": one}]}, **sized} for one in texts]
        if len(requests) == 1:
            return "embedContent", dict(requests[0])
        return "batchEmbedContents", {"requests": requests}

    def events(self, call: Call) -> EventReader | None:
        """A reader for the call's stream."""
        if call.operation != "chat":
            return None

        def classify(raw: object) -> Failure:
            return self.classified(200, {}, raw, call.secret.reveal())

        asked = mapping(call.body.get("stream_options")).get("include_usage") is True
        return ContentReader(self.speech.usage, classify, created=self.clock(), usage_asked=asked)

    def complete(self, operation: str, raw: object) -> Failure | None:
        """A failure that a 200 hides; see HTTPAdapter."""
        if operation == "chat":
            return hidden_failure(raw)
        known = {"embeddings": ("embedding", "embeddings", "predictions"), "models": ("models", "publisherModels")}
        if any(name in mapping(raw) for name in known[operation]) or (operation == "models" and raw == {}):
            return None
        return Failure(kind=Kind.MALFORMED, message=f"the answer holds no {operation}", billed=True)

    def usage(self, operation: str, raw: object) -> Usage | None:
        """What the answer says was used."""
        counted = predicted_tokens(raw)
        return Usage(input_tokens=counted) if counted else super().usage(operation, raw)

    def normalize(self, operation: str, raw: object) -> object:
        """The answer in canonical shape."""
        if operation == "models":
            return model_list(raw)
        usage = self.usage(operation, raw)
        if operation == "embeddings":
            return to_embeddings(mapping(raw), "", usage)
        return to_completion(mapping(raw), self.clock(), usage)

    def content(self, operation: str, body: object) -> object:
        """Text, vectors or model ids."""
        return content_of(operation, body)

    def estimate_cost(self, operation: str, body: Body) -> int | None:
        """A list of models is free; elsewhere tokens decide."""
        return 0 if operation == "models" else None

    def probe_request(self, call: Call) -> Outgoing | None:
        """The list of models, one of them; Vertex has no such list, and is taken for healthy."""
        if self._vertex:
            return None
        url = f"{self.wire.base_url}/models?pageSize=1"
        return Outgoing(method="GET", url=url, headers=self._headers(call.secret))


def _address(base_url: str | None, project: str | None, location: str | None) -> str:
    if project is None and location is None:
        return base_url or "https://generativelanguage.googleapis.com/v1beta"
    if not project or not location:
        raise InvalidConfigurationError("Vertex AI needs both project and location; give the other one too")
    host = "aiplatform.googleapis.com" if location == "global" else f"{location}-aiplatform.googleapis.com"
    root = (base_url or f"https://{host}/v1").rstrip("/")
    place = f"projects/{quote(project, safe='')}/locations/{quote(location, safe='')}"
    return f"{root}/{place}/publishers/google"


def _texts(body: Body) -> list[str]:
    """Texts to embed. Raises InvalidRequestError for token lists and other encodings, which this API does not take."""
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise InvalidRequestError("'input' of embeddings is missing or empty; give a text or a list of texts")
    if not all(isinstance(one, str) for one in texts):
        cannot("an 'input' of token numbers", "send texts")
    if body.get("encoding_format") not in (None, "float"):
        cannot(f"encoding_format {body.get('encoding_format')!r}", "use float")
    return [one for one in texts if isinstance(one, str)]
