"""Which path is which operation, whose key it is, and what it will be charged. The bodies are in the sibling files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from apikeyrouter.simulator.dialect import Call, Piece, Problem, asked_length, cached_tokens
from apikeyrouter.simulator.dialects.anthropic import limits, messages
from apikeyrouter.simulator.spec import Model, Organisation
from apikeyrouter.simulator.state import Reading, Refusal
from apikeyrouter.simulator.wire import Answer, HeaderList, Json, Request, json_answer, text, whole
from apikeyrouter.simulator.world import Stamp

__all__ = ["Anthropic"]

_MODELS = {
    "claude-opus-5": 1_000_000,
    "claude-sonnet-5": 1_000_000,
    "claude-haiku-5-5": 1_000_000,
    "claude-opus-4-8": 200_000,
    "claude-opus-4-5": 200_000,
    "claude-sonnet-4-6": 200_000,
    "claude-sonnet-4-5": 200_000,
    "claude-haiku-4-5": 200_000,
}
_OPERATIONS = {"/v1/messages": "messages", "/v1/messages/count_tokens": "count_tokens"}


class Anthropic:
    """See the package's docstring for what is charged."""

    name = "anthropic"
    models: tuple[Model, ...] = tuple(
        Model(name=name, dialect="anthropic", context=context) for name, context in _MODELS.items()
    )

    def claims(self, request: Request) -> bool:
        mine = "x-api-key" in request.headers or "anthropic-version" in request.headers
        return request.path.startswith("/v1/messages") or (mine and request.path.startswith("/v1/models"))

    def material(self, request: Request) -> str:
        return request.headers.get("x-api-key") or request.bearer()

    def read(self, request: Request, organisation: Organisation, default_max_output: int) -> Call | Problem:
        if request.method == "GET" and request.path.startswith("/v1/models"):
            return Call("models", "-", {}, argument=request.path.removeprefix("/v1/models").strip("/"))
        operation = _OPERATIONS.get(request.path)
        if operation is None or request.method != "POST":
            return Problem("not_found", "Not Found")
        body = request.json()
        if body is None:
            return Problem("bad_request", "The request body is not valid JSON", operation=operation)
        wrong = (
            "anthropic-version: header is required"
            if "anthropic-version" not in request.headers
            else _wrong(body, operation)
        )
        if wrong:
            return Problem("bad_request", wrong, text(body.get("model"), "-") or "-", operation)
        return _call(request, body, operation)

    def answer(self, call: Call, stamp: Stamp, organisation: Organisation) -> Answer:
        if call.operation == "count_tokens":
            return json_answer(200, {"input_tokens": call.input_tokens})
        if call.operation == "models":
            return self._models(call, stamp)
        return json_answer(200, messages.body(call, stamp))

    def _models(self, call: Call, stamp: Stamp) -> Answer:
        shown: list[Json] = [
            {"type": "model", "id": model.name, "display_name": model.name, "created_at": "2026-01-01T00:00:00Z"}
            for model in self.models
            if call.argument in ("", model.name)
        ]
        if call.argument:
            return json_answer(200, shown[0]) if shown else limits.error("model_not_found", stamp, "", call.argument)
        ends: dict[str, Json] = {"first_id": self.models[0].name, "last_id": self.models[-1].name}
        return json_answer(200, {"data": shown, "has_more": False, **ends})

    def pieces(self, call: Call, stamp: Stamp, chunk_tokens: int) -> Iterator[Piece]:
        return messages.pieces(call, stamp, chunk_tokens)

    def stream_headers(self, call: Call) -> HeaderList:
        return [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]

    def headers(
        self, stamp: Stamp, readings: Sequence[Reading], organisation: Organisation | None, took_ms: int
    ) -> HeaderList:
        return limits.headers(stamp, readings, organisation)

    def throttled(self, call: Call, stamp: Stamp, refusal: Refusal, organisation: Organisation) -> Answer:
        return limits.throttled(call.model, stamp, refusal)

    def error(self, name: str, stamp: Stamp, call: Call | Problem) -> Answer:
        return limits.error(name, stamp, call.text if isinstance(call, Problem) else "", call.model)

    def stream_error(self, name: str, stamp: Stamp) -> bytes:
        return b"event: error\ndata: " + limits.error(name, stamp, "", "-").body + b"\n\n"


def _wrong(body: dict[str, Json], operation: str) -> str:
    """What is missing in a body, in the provider's words; empty when nothing is."""
    if not text(body.get("model")):
        return "model: Field required"
    if not isinstance(body.get("messages"), list):
        return "messages: Field required"
    if not body["messages"]:
        return "messages: at least one message is required"
    if operation == "messages" and whole(body.get("max_tokens"), 0) <= 0:
        return (
            "max_tokens: Field required"
            if "max_tokens" not in body
            else "max_tokens: must be greater than or equal to 1"
        )
    return ""


def _call(request: Request, body: dict[str, Json], operation: str) -> Call:
    read, model = messages.input_tokens(body), text(body["model"])
    if operation == "count_tokens":
        return Call(operation, model, body, input_tokens=read)
    most, cached = whole(body.get("max_tokens"), 0), cached_tokens(request, read)
    return Call(
        operation,
        model,
        body,
        take={"requests": 1, "input": read - cached, "tokens": read - cached},
        check={"output": 1},
        stream=body.get("stream") is True,
        input_tokens=read,
        cached_tokens=cached,
        asked_output=most,
        max_output=most,
        wanted=asked_length(request, body),
        produces=True,
        metered=("output", "tokens"),
        prompt=messages.last_words(body),
    )
