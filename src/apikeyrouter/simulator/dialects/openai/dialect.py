"""Which path is which operation, whose key it is, and what it will be charged. The bodies are in the sibling files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from apikeyrouter.simulator.dialect import NO_MAXIMUM, Call, Piece, Problem, asked_length, cached_tokens
from apikeyrouter.simulator.dialects.openai import chat, embeddings, limits, responses
from apikeyrouter.simulator.spec import Model, Organisation
from apikeyrouter.simulator.state import Reading, Refusal
from apikeyrouter.simulator.wire import Answer, HeaderList, Json, Request, json_answer, text, whole
from apikeyrouter.simulator.words import tokens_in
from apikeyrouter.simulator.world import Stamp

__all__ = ["OpenAI"]

_CREATED = 1_700_000_000
_CHAT_MODELS = {
    "gpt-4o-mini": 128_000,
    "gpt-4o": 128_000,
    "gpt-4.1": 1_047_576,
    "gpt-4.1-mini": 1_047_576,
    "gpt-4.1-nano": 1_047_576,
    "gpt-5": 400_000,
    "gpt-5-mini": 400_000,
    "gpt-5-nano": 400_000,
    "gpt-5.4": 400_000,
    "gpt-5.4-mini": 400_000,
    "gpt-5.6-luna": 400_000,
    "gpt-6-luna": 400_000,
    "gpt-6-sol": 400_000,
    "o3": 200_000,
    "o4-mini": 200_000,
    "gpt-4": 8_192,
    "gpt-3.5-turbo": 16_385,
    "gpt-3.5-turbo-instruct": 4_096,
}
_PATHS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completion",
    "/v1/embeddings": "embeddings",
    "/v1/responses": "responses",
}


class OpenAI:
    """See the package's docstring for what is charged."""

    name = "openai"
    models: tuple[Model, ...] = (
        *(Model(name=name, context=context) for name, context in _CHAT_MODELS.items()),
        Model(name="text-embedding-3-small", context=8_192, kind="embedding", dimensions=1_536),
        Model(name="text-embedding-3-large", context=8_192, kind="embedding", dimensions=3_072),
    )

    def claims(self, request: Request) -> bool:
        return request.path in _PATHS or request.path.startswith("/v1/models")

    def material(self, request: Request) -> str:
        return request.bearer()

    def read(self, request: Request, organisation: Organisation, default_max_output: int) -> Call | Problem:
        if request.method == "GET" and request.path.startswith("/v1/models"):
            return Call("models", "-", {}, argument=request.path.removeprefix("/v1/models").strip("/"))
        operation = _PATHS.get(request.path)
        if operation is None or request.method != "POST":
            return Problem("not_found", f"{request.method} {request.path}")
        body = request.json()
        if body is None:
            return Problem("bad_request", "We could not parse the JSON body of your request.", operation=operation)
        model = text(body.get("model"))
        if not model:
            return Problem("bad_request", "you must provide a model parameter", operation=operation)
        call = _READERS[operation](body, model, default_max_output)
        if isinstance(call, Call):
            call.wanted = asked_length(request, body)
            call.cached_tokens = cached_tokens(request, call.input_tokens)
        return call

    def answer(self, call: Call, stamp: Stamp, organisation: Organisation) -> Answer:
        if call.operation == "models":
            return self._models(call)
        return json_answer(200, _BODIES[call.operation](call, stamp))

    def _models(self, call: Call) -> Answer:
        shown: list[Json] = [
            {"id": model.name, "object": "model", "created": _CREATED, "owned_by": "system"}
            for model in self.models
            if call.argument in ("", model.name)
        ]
        if call.argument:
            return (
                json_answer(200, shown[0]) if shown else limits.error("model_not_found", call.argument, call.argument)
            )
        return json_answer(200, {"object": "list", "data": shown})

    def pieces(self, call: Call, stamp: Stamp, chunk_tokens: int) -> Iterator[Piece]:
        if call.operation == "responses":
            return responses.pieces(call, stamp, chunk_tokens)
        return chat.pieces(call, stamp, chunk_tokens)

    def stream_headers(self, call: Call) -> HeaderList:
        return [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]

    def headers(
        self, stamp: Stamp, readings: Sequence[Reading], organisation: Organisation | None, took_ms: int
    ) -> HeaderList:
        return limits.headers(stamp, readings, organisation, took_ms)

    def throttled(self, call: Call, stamp: Stamp, refusal: Refusal, organisation: Organisation) -> Answer:
        return limits.throttled(call.model, stamp.organisation, refusal)

    def error(self, name: str, stamp: Stamp, call: Call | Problem) -> Answer:
        return limits.error(name, call.text if isinstance(call, Problem) else "", call.model)

    def stream_error(self, name: str, stamp: Stamp) -> bytes:
        return b"data: " + limits.error(name, "", "-").body + b"\n\n"


def _read_chat(body: dict[str, Json], model: str, default: int) -> Call | Problem:
    if not isinstance(body.get("messages"), list) or not body["messages"]:
        return Problem("bad_request", "Missing required parameter: 'messages'.", model, "chat")
    asked = whole(body.get("max_completion_tokens"), whole(body.get("max_tokens"), 0))
    return _producing("chat", body, model, (chat.input_tokens(body), asked, default), prompt=chat.last_words(body))


def _read_completion(body: dict[str, Json], model: str, default: int) -> Call | Problem:
    prompt = body.get("prompt")
    words = (
        prompt
        if isinstance(prompt, str)
        else " ".join(text(part) for part in prompt)
        if isinstance(prompt, list)
        else ""
    )
    asked = whole(body.get("max_tokens"), 0)
    return _producing("completion", body, model, (tokens_in(words), asked or 16, 16), prompt=words)


def _read_responses(body: dict[str, Json], model: str, default: int) -> Call | Problem:
    if not body.get("input") and not body.get("prompt"):
        return Problem("bad_request", "Missing required parameter: 'input'.", model, "responses")
    asked = whole(body.get("max_output_tokens"), 0)
    words = responses.input_text(body)
    return _producing("responses", body, model, (tokens_in(words) + 3, asked, default), prompt=words)


def _producing(operation: str, body: dict[str, Json], model: str, tokens: tuple[int, int, int], *, prompt: str) -> Call:
    """A call that produces text; `tokens` are those read, those asked for (0: no maximum), and what is charged then."""
    read, asked, default = tokens
    answers = max(1, whole(body.get("n"), 1))
    return Call(
        operation,
        model,
        body,
        take={"requests": 1, "tokens": read + answers * (asked or default)},
        stream=body.get("stream") is True,
        input_tokens=read,
        asked_output=asked,
        max_output=asked or NO_MAXIMUM,
        produces=True,
        answers=answers,
        prompt=prompt,
    )


def _read_embeddings(body: dict[str, Json], model: str, default: int) -> Call | Problem:
    read = embeddings.input_tokens(body)
    if not read:
        return Problem("bad_request", "Missing required parameter: 'input'.", model, "embeddings")
    return Call("embeddings", model, body, take={"requests": 1, "tokens": read}, input_tokens=read)


_READERS = {
    "chat": _read_chat,
    "completion": _read_completion,
    "responses": _read_responses,
    "embeddings": _read_embeddings,
}
_BODIES = {
    "chat": chat.body,
    "completion": chat.completion_body,
    "responses": responses.body,
    "embeddings": embeddings.body,
}
