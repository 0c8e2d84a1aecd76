"""What the engine hears of a call that somebody else's integration sends: headers of answers, meaning of exceptions.

SDKs hide the headers of a success. One response hook on their HTTP client (httpx or httpx2 alike) tells them to
whichever call is under way in this context. It reaches into private attributes, so that without them the engine only
hears less.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from functools import cache
from typing import Any, Final

from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
)

from apikeyrouter.adapters import BaseAdapter
from apikeyrouter.adapters.dialect import Dialect, dialect, names
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.model import NO_NAMES, Capabilities
from apikeyrouter.ports import Adapter, Answer, Call

_SAME: Final = {
    "google_genai": "gemini",
    "google_vertexai": "vertex",
    "mistralai": "mistral",
    "fireworks_ai": "fireworks",
}
_CLIENTS: Final = (
    ("root_client", "_client"),
    ("root_async_client", "_client"),
    ("_client", "_client"),
    ("_async_client", "_client"),
    ("client", "_api_client", "_httpx_client"),
    ("client", "_api_client", "_async_httpx_client"),
    ("client", "_client", "_client"),
    ("async_client", "_client", "_client"),
)
"""Where integrations keep their HTTP clients: openai, anthropic, google-genai; 2026-11."""
_NEUTRAL: Final[tuple[tuple[type[ModelError], Kind], ...]] = (
    (ContextOverflowError, Kind.TOO_LONG),
    (ModelRateLimitError, Kind.RATE_LIMITED),
    (ModelAuthenticationError, Kind.UNAUTHENTICATED),
    (ModelPermissionDeniedError, Kind.FORBIDDEN),
    (ModelNotFoundError, Kind.MODEL_NOT_FOUND),
    (ModelTimeoutError, Kind.TIMEOUT),
    (ModelConnectionError, Kind.NETWORK),
    (ModelInvalidRequestError, Kind.INVALID),
    (ModelAPIError, Kind.SERVER_ERROR),
)
_SENDERS: Final = frozenset(
    {"openai", "anthropic", "groq", "google", "httpx", "httpx2", "httpcore", "httpcore2", "aiohttp"}
)
_DEEPEST: Final = 5
_NOTHING: Final[Mapping[str, str]] = {}
_ALWAYS: Final = ("date", "ratelimit", "ratelimit-policy", "retry-after", "retry-after-ms")
"""Headers that have a meaning in every dialect."""


class Listening(BaseAdapter):
    """Classifies and reads limits in a provider's dialect; sending is an integration's."""

    def __init__(self, speech: Dialect) -> None:
        super().__init__(speech=speech)
        told = frozenset({"rate_limit"}) if speech.limits.rows else NO_NAMES
        self.capabilities = Capabilities(operations=frozenset({"chat", "embeddings"}), features=told)
        rows = speech.limits.rows
        names = {name for row in rows for name in (row.limit, row.remaining, row.reset, row.unless) if name}
        names.update(_ALWAYS, self.owner_headers)
        self.wanted = {name.encode("latin-1"): name for name in names}

    @classmethod
    @cache
    def of(cls, provider: str) -> Listening:
        """The adapter for a provider as LangChain calls it; an unknown one speaks OpenAI's dialect, as most do."""
        name = _SAME.get(provider, provider)
        return cls(dialect(name if name in names() else "openai"))

    async def send(self, call: Call) -> Answer:
        """Refuses: nothing is sent from here."""
        message = "this key belongs to a LangChain model; call it through that"
        return Answer(status=None, failure=Failure(kind=Kind.INVALID, message=message, sent=False))


# -- headers ----------------------------------------------------------------------------------------------------------


class Ear:
    """The headers of the last response of one attempt; read when the attempt has ended, if at all."""

    __slots__ = ("_raw",)

    def __init__(self) -> None:
        self._raw: Any = None

    def hear(self, headers: Any) -> None:
        """Headers came; None for an attempt that begins."""
        self._raw = headers

    def headers(self, adapter: Adapter) -> Mapping[str, str]:
        """Those that this adapter reads, names in lower case. Of twenty headers five mean something."""
        if self._raw is None:
            return _NOTHING
        wanted = adapter.wanted if isinstance(adapter, Listening) else None
        if wanted is None:
            return {name.lower(): value for name, value in self._raw.items()}
        raw = getattr(self._raw, "raw", ())
        return {name: value.decode("latin-1") for key, value in raw if (name := wanted.get(key.lower())) is not None}


_EAR: ContextVar[Ear | None] = ContextVar("apikeyrouter_ear", default=None)


class listening:  # noqa: N801  (reads as what it does: `with listening(ear):`)
    """Have the responses of this context told to `ear`."""

    __slots__ = ("_before", "_ear")

    def __init__(self, ear: Ear) -> None:
        self._ear = ear

    def __enter__(self) -> None:
        self._before = _EAR.get()
        _EAR.set(self._ear)

    def __exit__(self, *_: object) -> None:
        _EAR.set(self._before)  # rather than reset: a generator may be closed in another context than it was begun in


def _heard(response: Any) -> None:
    ear = _EAR.get()
    if ear is not None:
        ear.hear(response.headers)


async def _aheard(response: Any) -> None:
    _heard(response)


def listen(model: object) -> None:
    """Hear the HTTP clients of an integration's model, each once."""
    for path in _CLIENTS:
        client: Any = model
        for name in path:
            client = getattr(client, name, None)
        hooks = getattr(client, "event_hooks", None)
        if isinstance(hooks, dict):
            hook = _aheard if "Async" in type(client).__name__ or hasattr(client, "aclose") else _heard
            told = hooks.setdefault("response", [])
            if hook not in told:
                told.append(hook)


# -- exceptions -------------------------------------------------------------------------------------------------------


def failure_of(error: BaseException, adapter: Adapter) -> tuple[Failure, Mapping[str, str]] | None:
    """What an integration's exception means, with the response's headers; None for one that no provider caused."""
    chain = list(_chain(error))
    for one in chain:
        response: Any = getattr(one, "response", None)
        status = getattr(response, "status_code", None)
        if isinstance(status, int):
            headers = {str(name).lower(): str(value) for name, value in dict(response.headers).items()}
            return adapter.classify(status, headers, _body(one, response)), headers
    for one in chain:
        body = getattr(one, "body", None)
        if isinstance(body, Mapping) and body:
            return adapter.classify(200, {}, _whole(body)), {}
    kind = _kind(error, chain)
    if kind is None:
        return None
    sent = not any(word in type(one).__name__ for one in chain for word in ("ConnectError", "ConnectTimeout"))
    named = type(error).__name__
    return Failure(kind=kind, message=named, billed=sent and kind in (Kind.TIMEOUT, Kind.NETWORK), sent=sent), {}


def loop_is_gone(error: BaseException) -> bool:
    """Whether a pooled connection of a closed event loop broke: nobody's fault, and gone at the next attempt."""
    return any(isinstance(one, RuntimeError) and "loop is closed" in str(one).lower() for one in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    for _ in range(_DEEPEST):
        if one is None:
            return
        yield one
        one = one.__cause__ or one.__context__


def _body(error: BaseException, response: Any) -> object:
    body = getattr(error, "body", None)
    if isinstance(body, Mapping):
        return _whole(body)
    try:
        return json.loads(response.content)
    except Exception:  # noqa: BLE001 - a stream that was not read, or no JSON: the status says enough
        return body


def _whole(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """openai's exceptions keep only what is under `error`."""
    return body if "error" in body else {"error": dict(body)}


def _kind(error: BaseException, chain: list[BaseException]) -> Kind | None:
    for one in chain:
        found = next((kind for kind_of, kind in _NEUTRAL if isinstance(one, kind_of)), None)
        if found is not None:
            return found
    if any(isinstance(one, TimeoutError) or "Timeout" in type(one).__name__ for one in chain):
        return Kind.TIMEOUT
    sender = any(type(one).__module__.partition(".")[0] in _SENDERS for one in chain)
    return Kind.NETWORK if sender or isinstance(error, ConnectionError) else None
