"""What an HTTP request asks for, and one journey of it through keys until a response may be shown to the SDK."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from apikeyrouter.core.bound import most_of
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.ledger import Lease
from apikeyrouter.core.model import Request, Usage
from apikeyrouter.core.registry import ANY_OPERATION
from apikeyrouter.core.tokens import Measure, measure
from apikeyrouter.dispatch import BOUND_OF, Errand
from apikeyrouter.errors import InvalidRequestError, ProviderError, ProviderNotFoundError, RoutingError
from apikeyrouter.ports import Adapter
from apikeyrouter.transport.wire import HttpRequest, HttpResponse, Library

if TYPE_CHECKING:
    from apikeyrouter.facade import ApiKeyRouter

_ENDINGS: Final[tuple[tuple[str, str], ...]] = (
    ("/chat/completions", "chat"),
    ("/completions", "completion"),
    ("/embeddings", "embeddings"),
    ("/responses", "responses"),
    ("/messages", "messages"),
    (":generateContent", "chat"),
    (":streamGenerateContent", "chat"),
    (":embedContent", "embeddings"),
    (":batchEmbedContents", "embeddings"),
)
_CREDENTIALS: Final = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
LONGEST_BODY: Final = 8 * 1024 * 1024
"""Response bytes kept to read the usage from; a longer answer is settled at its estimate."""


class Journey:
    """One request of an SDK: its lease at any time, what it learned, and how it ends."""

    def __init__(self, router: ApiKeyRouter, provider: str | None, request: HttpRequest, library: Library) -> None:
        self.library = library
        self.original = request
        self.provider = provider or provider_for(router, request)
        self.adapter: Adapter = router.adapters[self.provider]
        self.operation = operation_of(request)
        body = json_of(request.content)
        asked, weight = _asked(request, self.provider, self.operation, body, self.adapter)
        timeout = _timeout(request) or router.settings.timeout_s
        self.errand = Errand(router.dispatcher, asked, body, weight, timeout, wait=True)
        self.last: HttpResponse | None = None

    def prepared(self, lease: Lease) -> HttpRequest:
        """The SDK's request with the leased credential where the SDK had put one, and its answer bounded if it must."""
        headers = [(name, value) for name, value in self.original.headers.items()]
        content = self._bounded(lease)
        if content is not self.original.content:
            headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
        url, secret = self.original.url, lease.secret()
        found = next((name for name in _CREDENTIALS if name in self.original.headers), None)
        if found is None and "key" in url.params:
            url = url.copy_set_param("key", secret)
        else:
            name = found or "authorization"
            bearer = name == "authorization"
            headers = [(n, v) for n, v in headers if n.lower() != name]
            headers.append((name, f"Bearer {secret}" if bearer else secret))
        return self.library.Request(
            self.original.method,
            url,
            headers=headers,
            content=content,
            extensions=self.original.extensions,
        )

    def _bounded(self, lease: Lease) -> bytes:
        """The body; under a hard limit on cost an answer that the SDK left unbounded is bounded by what is held."""
        bound, given = lease.bound, self.original.content
        body = json_of(given) if bound is not None else {}
        if not body:
            return given
        if "contents" in body:  # Google's own shape
            config = body.get("generationConfig")
            within = {**(config if isinstance(config, dict) else {}), "maxOutputTokens": bound}
            return json.dumps({**body, "generationConfig": within}).encode()
        return json.dumps({**body, BOUND_OF.get(self.operation, "max_tokens"): bound}).encode()

    def failure_of(self, response: HttpResponse) -> Failure:
        """Classified; the body has been read."""
        return self.adapter.classify(response.status_code, headers_of(response), decoded(response.content))

    def network_failure(self, error: Exception) -> Failure:
        """A request that may have left when a timeout came is held to be billed; one that never connected is not."""
        lib = self.library
        if isinstance(error, lib.ConnectError | lib.ConnectTimeout):
            return Failure(kind=Kind.NETWORK, message=type(error).__name__, sent=False)
        kind = Kind.TIMEOUT if isinstance(error, lib.TimeoutException) else Kind.NETWORK
        return Failure(kind=kind, message=type(error).__name__, billed=True)

    def marked(self, response: HttpResponse, lease: Lease) -> HttpResponse:
        """The response, saying whose key it was and under which decision."""
        response.headers["x-key-used"] = lease.key_id
        response.headers["x-decision-id"] = lease.decision.id
        return response

    def settle(self, lease: Lease, response: HttpResponse, body: bytes | None) -> None:
        """The response has been read (or dropped: `body` None)."""
        usage = None if body is None else self._usage(response, body)
        headers = headers_of(response)
        readings, identity = self.adapter.limits(headers), self.adapter.identity(headers)
        self.errand.router.settle(lease, usage, readings=readings, identity=identity)
        self.errand.judge_all(served=lease.provider)

    def _usage(self, response: HttpResponse, raw: bytes) -> Usage | None:
        try:
            text = self.library.Response(200, headers=list(response.headers.items()), content=raw, request=None).text
        except Exception:  # noqa: BLE001  (a body the library cannot decode has no usage to read)
            return None
        if "text/event-stream" in response.headers.get("content-type", ""):
            return _of_events(self.adapter, self.operation, text)
        return self.adapter.usage(self.operation, decoded(text.encode()))

    def refused(self, error: RoutingError) -> HttpResponse:
        """A response that says nobody could serve, in the shape SDKs understand, with the time to come back."""
        status = 400 if error.http_status == 400 else 429
        headers = {"content-type": "application/json", "x-should-retry": "false"}
        if error.retry_after is not None:
            headers["retry-after"] = str(max(1, round(error.retry_after)))
        content = json.dumps(
            {"type": "error", "error": {"message": error.message, "type": "apikeyrouter", "code": error.code}}
        )
        return self.library.Response(status, headers=headers, content=content.encode(), request=self.original)

    def outcome(self, error: ProviderError | RoutingError) -> HttpResponse | None:
        """What the SDK shall see when no attempt is left: the provider's own last answer, else our refusal."""
        if self.last is not None:
            return self.last
        return self.refused(error) if isinstance(error, RoutingError) else None


def provider_for(router: ApiKeyRouter, request: HttpRequest) -> str:
    """The registered provider whose address the request goes to."""
    for name, adapter in router.adapters.items():
        wire = getattr(adapter, "wire", None)
        base = str(getattr(wire, "base_url", ""))
        if base and _host(base) == _origin(request):
            return name
    raise ProviderNotFoundError(
        f"No registered provider is at {request.url.host}; register one with that base_url, or pass provider=."
    )


def _host(base: str) -> str:
    return base.partition("://")[2].partition("/")[0].lower()


def _origin(request: HttpRequest) -> str:
    port = request.url.port
    return request.url.host if port is None else f"{request.url.host}:{port}"


def operation_of(request: HttpRequest) -> str:
    path = request.url.path
    return next((name for ending, name in _ENDINGS if path.endswith(ending)), ANY_OPERATION)


def json_of(content: bytes) -> Mapping[str, object]:
    found = decoded(content)
    return found if isinstance(found, dict) else {}


def decoded(content: bytes) -> object:
    try:
        return json.loads(content) if content else None
    except ValueError:
        return None


def headers_of(response: HttpResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _asked(
    request: HttpRequest, provider: str, operation: str, body: Mapping[str, object], adapter: Adapter
) -> tuple[Request, Measure]:
    model = body.get("model")
    name = model if isinstance(model, str) and model else _model_in(request.url.path) or operation
    if operation not in adapter.capabilities.operations:
        operation = ANY_OPERATION
    return Request(model=name, provider=provider, operation=operation), _measured(operation, body)


def _measured(operation: str, body: Mapping[str, object]) -> Measure:
    try:
        return measure(operation, body)
    except InvalidRequestError:
        # Not for us to refuse: another dialect's body, or one that the provider itself will answer for.
        config = body.get("generationConfig")
        config = config if isinstance(config, dict) else {}
        cap, answers = config.get("maxOutputTokens"), config.get("candidateCount")
        answers = answers if type(answers) is int and answers > 0 else 1
        most = cap * answers if type(cap) is int and cap > 0 else None
        bound = most_of(body)
        return Measure(
            chars=len(str(body)),
            max_output_tokens=0 if operation == "embeddings" else most,
            answers=answers,
            most=bound.tokens,
            unseen=bound.unseen,
        )


def _model_in(path: str) -> str:
    """`models/NAME:method` of Google's addresses."""
    return path.rpartition("/models/")[2].partition(":")[0] if "/models/" in path else ""


def _timeout(request: HttpRequest) -> float | None:
    timeouts = request.extensions.get("timeout")
    read = timeouts.get("read") if isinstance(timeouts, Mapping) else None
    return float(read) if isinstance(read, int | float) else None


def _of_events(adapter: Adapter, operation: str, text: str) -> Usage | None:
    """Usage out of a whole event stream: the last word of each count, since some dialects spread them over events."""
    found: Usage | None = None
    for line in text.splitlines():
        if line.startswith("data:") and "sage" in line:
            raw = decoded(line[5:].strip().encode())
            for part in (raw, raw.get("message") if isinstance(raw, dict) else None):
                usage = adapter.usage(operation, part) if isinstance(part, dict) else None
                found = usage if found is None else found if usage is None else _later(found, usage)
    return found


def _later(a: Usage, b: Usage) -> Usage:
    return Usage(
        input_tokens=max(a.input_tokens, b.input_tokens),
        output_tokens=max(a.output_tokens, b.output_tokens),
        cache_read_tokens=max(a.cache_read_tokens, b.cache_read_tokens),
        cache_write_tokens=max(a.cache_write_tokens, b.cache_write_tokens),
        reasoning_tokens=max(a.reasoning_tokens, b.reasoning_tokens),
        cost_reported=b.cost_reported if b.cost_reported is not None else a.cost_reported,
    )
