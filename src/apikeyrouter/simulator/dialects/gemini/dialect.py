"""Which path is which operation, whose key it is, and what it will be charged. The bodies are in the sibling files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from apikeyrouter.simulator.dialect import NO_MAXIMUM, Call, Piece, Problem, asked_length, cached_tokens
from apikeyrouter.simulator.dialects.gemini import content, limits
from apikeyrouter.simulator.spec import Model, Organisation
from apikeyrouter.simulator.state import Reading, Refusal
from apikeyrouter.simulator.wire import Answer, HeaderList, Json, Request, json_answer, obj, text, whole
from apikeyrouter.simulator.world import Stamp

__all__ = ["Gemini"]

_CHAT_MODELS = (
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-3-pro-preview",
    "gemini-3-flash-preview",
    "gemini-3.5-flash",
    "gemini-3.8-flash",
    "gemini-flash-latest",
)
_METHODS = {
    "generateContent": "generate",
    "streamGenerateContent": "generate",
    "embedContent": "embed",
    "batchEmbedContents": "batch_embed",
    "countTokens": "count_tokens",
}


class Gemini:
    """See the package's docstring for what is charged."""

    name = "gemini"
    models: tuple[Model, ...] = (
        *(Model(name=name, dialect="gemini", context=1_048_576) for name in _CHAT_MODELS),
        Model(name="gemini-embedding-001", dialect="gemini", context=2_048, kind="embedding", dimensions=3_072),
    )

    def claims(self, request: Request) -> bool:
        path = request.path
        return path.startswith("/v1beta/") or (path.startswith("/v1/models/") and path.partition(":")[2] in _METHODS)

    def material(self, request: Request) -> str:
        return request.headers.get("x-goog-api-key") or request.params().get("key", "")

    def read(self, request: Request, organisation: Organisation, default_max_output: int) -> Call | Problem:
        version, _, rest = request.path.strip("/").partition("/")
        name, _, method = rest.removeprefix("models").strip("/").partition(":")
        if request.method == "GET" and rest.startswith("models") and not method:
            return Call("models", "-", {}, argument=name)
        operation = _METHODS.get(method)
        if operation is None or request.method != "POST" or not rest.startswith("models/"):
            return Problem("not_found", version)
        body = request.json()
        if body is None:
            return Problem("bad_request", "Invalid JSON payload received. Expected an object.", name, operation)
        return _READERS[operation](request, body, name)

    def answer(self, call: Call, stamp: Stamp, organisation: Organisation) -> Answer:
        if call.operation == "models":
            return self._models(call)
        return json_answer(200, _BODIES[call.operation](call, stamp))

    def _models(self, call: Call) -> Answer:
        shown = [content.model_json(model) for model in self.models if call.argument in ("", model.name)]
        if call.argument:
            return json_answer(200, shown[0]) if shown else limits.error("model_not_found", "", call.argument)
        return json_answer(200, {"models": list(shown)})

    def pieces(self, call: Call, stamp: Stamp, chunk_tokens: int) -> Iterator[Piece]:
        return content.pieces(call, stamp, chunk_tokens)

    def stream_headers(self, call: Call) -> HeaderList:
        return [
            (b"content-type", b"text/event-stream" if call.argument == "sse" else b"application/json; charset=UTF-8")
        ]

    def headers(
        self, stamp: Stamp, readings: Sequence[Reading], organisation: Organisation | None, took_ms: int
    ) -> HeaderList:
        return [(b"server-timing", b"gfet4t7; dur=%d" % took_ms)]

    def throttled(self, call: Call, stamp: Stamp, refusal: Refusal, organisation: Organisation) -> Answer:
        return limits.throttled(call.model, organisation.tier, refusal)

    def error(self, name: str, stamp: Stamp, call: Call | Problem) -> Answer:
        return limits.error(name, call.text if isinstance(call, Problem) else "", call.model)

    def stream_error(self, name: str, stamp: Stamp) -> bytes:
        return b"data: " + limits.error(name, "", "-").body + b"\r\n\r\n"


def _read_generate(request: Request, body: dict[str, Json], model: str) -> Call | Problem:
    if not body.get("contents"):
        return Problem("bad_request", "* GenerateContentRequest.contents: contents is not specified", model, "generate")
    settings = obj(body.get("generationConfig")) or obj(body.get("generation_config"))
    read = content.input_tokens(body)
    asked = whole(settings.get("maxOutputTokens"), whole(settings.get("max_output_tokens"), 0))
    streams = request.path.endswith(":streamGenerateContent")
    return Call(
        "generate",
        model,
        body,
        take={"requests": 1, "tokens": read, "input": read},
        stream=streams,
        input_tokens=read,
        cached_tokens=cached_tokens(request, read),
        max_output=asked or NO_MAXIMUM,
        wanted=asked_length(request, body),
        produces=True,
        prompt=content.last_words(body),
        argument=text(request.params().get("alt")) if streams else "",
    )


def _read_embedding(request: Request, body: dict[str, Json], model: str) -> Call | Problem:
    given = content.embedded(body)
    if not given:
        return Problem("bad_request", "* EmbedContentRequest.content: contents is not specified", model, "embed")
    read = sum(content.tokens_of(one) for one in given)
    operation = "batch_embed" if "requests" in body else "embed"
    return Call(operation, model, body, take={"requests": 1, "tokens": read, "input": read}, input_tokens=read)


def _read_count(request: Request, body: dict[str, Json], model: str) -> Call | Problem:
    inner = obj(body.get("generateContentRequest")) or body
    return Call("count_tokens", model, body, input_tokens=content.input_tokens(inner))


_READERS = {
    "generate": _read_generate,
    "embed": _read_embedding,
    "batch_embed": _read_embedding,
    "count_tokens": _read_count,
}
_BODIES = {
    "generate": content.body,
    "embed": content.embedding_body,
    "batch_embed": content.batch_body,
    "count_tokens": content.count_body,
}
