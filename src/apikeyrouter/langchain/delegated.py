"""The delegated line: other integrations' models send, one for each key; who, and what follows, is here.

An attempt is a lease: taken, sent by the model's own `_generate` or `_stream` (so that the trace has one run, and usage
is counted once), settled or failed. Until the first chunk another model may take over; afterwards a break is the
caller's to see.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from apikeyrouter.core.model import Among
from apikeyrouter.langchain.attempts import Journey
from apikeyrouter.langchain.bindings import WISH, ToolSet, Wish
from apikeyrouter.langchain.deployments import ChatDeployment
from apikeyrouter.langchain.inward import OURS
from apikeyrouter.langchain.listening import listening
from apikeyrouter.langchain.options import RoutingOptions
from apikeyrouter.langchain.retries import Manager, atell, tell

if TYPE_CHECKING:
    from apikeyrouter.facade import ApiKeyRouter


class DelegatedLine:
    """Sends over the models of `deployments`, which are keys of `router`."""

    def __init__(self, router: ApiKeyRouter, deployments: Sequence[ChatDeployment]) -> None:
        self.router = router
        self.deployments = {one.id: one for one in deployments}
        self.everybody: Among = frozenset((one.id, one.name) for one in deployments)

    def taking(self, model: str) -> Among:
        """Who serves another model than its own: whose `models` globs contain it, else all."""
        globs = {one.id: one.options.get("models", ()) for one in self.deployments.values()}
        fit = [name for name, those in globs.items() if any(fnmatchcase(model, glob) for glob in those)]
        return frozenset((name, model) for name in fit or globs)

    def generate(
        self, messages: Sequence[BaseMessage], params: Mapping[str, Any], options: RoutingOptions, manager: Manager
    ) -> ChatResult:
        """A result, blocking this thread."""
        journey = Journey(self, messages, params, options, streaming=False)
        while True:
            model = journey.take_now()
            try:
                with listening(journey.ear):
                    result = model._generate(list(messages), **self.words(model, journey.bounded(model, params)))
            except BaseException as error:  # noqa: BLE001 - failed_now raises what is not ours to bear
                journey.failed_now(error)
                continue
            journey.settle(result)
            tell(manager, journey.failures)
            return _marked_result(result, journey)

    async def agenerate(
        self, messages: Sequence[BaseMessage], params: Mapping[str, Any], options: RoutingOptions, manager: Manager
    ) -> ChatResult:
        """A result."""
        journey = Journey(self, messages, params, options, streaming=False)
        while True:
            model = await journey.take()
            try:
                with listening(journey.ear):
                    result = await model._agenerate(list(messages), **self.words(model, journey.bounded(model, params)))
            except BaseException as error:  # noqa: BLE001 - failed raises what is not ours to bear
                await journey.failed(error)
                continue
            journey.settle(result)
            await atell(manager, journey.failures)
            return _marked_result(result, journey)

    def stream(
        self, messages: Sequence[BaseMessage], params: Mapping[str, Any], options: RoutingOptions, manager: Manager
    ) -> Generator[ChatGenerationChunk]:
        """Chunks as they come; closing the iterator settles."""
        journey = Journey(self, messages, params, options, streaming=True)
        while True:
            model = journey.take_now()
            chunks = None
            try:
                chunks = _chunks(model, list(messages), self.words(model, journey.bounded(model, params)))
                with listening(journey.ear):
                    first = next(chunks)
            except BaseException as error:  # noqa: BLE001 - failed_now raises what is not ours to bear
                journey.failed_now(error)
                continue
            tell(manager, journey.failures)
            try:
                last = _marked(journey.heard(first), journey)
                yield last
                for last in chunks:
                    yield _ended(journey.heard(last), journey)
            except BaseException as error:
                journey.broke(error)
                raise
            finally:
                chunks.close()
            journey.finish()
            yield from _closing(last, journey)
            return

    async def astream(
        self, messages: Sequence[BaseMessage], params: Mapping[str, Any], options: RoutingOptions, manager: Manager
    ) -> AsyncGenerator[ChatGenerationChunk]:
        """Chunks as they come; closing the iterator settles."""
        journey = Journey(self, messages, params, options, streaming=True)
        while True:
            model = await journey.take()
            try:
                chunks = _achunks(model, list(messages), self.words(model, journey.bounded(model, params)))
                with listening(journey.ear):
                    first = await anext(chunks)
            except BaseException as error:  # noqa: BLE001 - failed raises what is not ours to bear
                await journey.failed(error)
                continue
            await atell(manager, journey.failures)
            async with aclosing(chunks):
                try:
                    last = _marked(journey.heard(first), journey)
                    yield last
                    async for last in chunks:
                        yield _ended(journey.heard(last), journey)
                except BaseException as error:
                    journey.broke(error)
                    raise
            journey.finish()
            for closing in _closing(last, journey):
                yield closing
            return

    def words(self, model: BaseChatModel, params: Mapping[str, Any]) -> dict[str, Any]:
        """A call's arguments in the words of the model that serves it."""
        made = {name: value for name, value in params.items() if name not in ("tools", WISH)}
        tools, wish = params.get("tools"), params.get(WISH)
        if "cache_control" in made and not model._llm_type.startswith("anthropic"):
            del made["cache_control"]  # an outer middleware's for Anthropic; everybody else refuses it
        if isinstance(tools, ToolSet):
            made = {**tools.words(model), **made}
        elif tools:
            made["tools"] = tools
        return {**wish.words(model), **made} if isinstance(wish, Wish) else made


def _chunks(model: BaseChatModel, messages: list[BaseMessage], words: dict[str, Any]) -> Generator[ChatGenerationChunk]:
    """A model's own chunks; those of one that cannot stream are one."""
    if type(model)._stream is BaseChatModel._stream:
        yield _as_chunk(model._generate(messages, **words))
    else:
        yield from model._stream(messages, **words)


async def _achunks(
    model: BaseChatModel, messages: list[BaseMessage], words: dict[str, Any]
) -> AsyncGenerator[ChatGenerationChunk]:
    kind = type(model)
    if kind._astream is BaseChatModel._astream and kind._stream is BaseChatModel._stream:
        yield _as_chunk(await model._agenerate(messages, **words))
        return
    async for chunk in model._astream(messages, **words):
        yield chunk


def _as_chunk(result: ChatResult) -> ChatGenerationChunk:
    message = result.generations[0].message
    chunk = AIMessageChunk(**message.model_dump(exclude={"type"}))
    return ChatGenerationChunk(message=chunk, generation_info=result.generations[0].generation_info)


def _marked_result(result: ChatResult, journey: Journey) -> ChatResult:
    for generation in result.generations:
        _marked(generation, journey)
    return result


def _marked(made: Any, journey: Journey) -> Any:
    """How it came about, said once: merging chunks joins what is said twice. Core moves it into the message."""
    told = journey.told()
    made.generation_info = told if made.generation_info is None else {**made.generation_info, **told}
    return made


def _ended(chunk: ChatGenerationChunk, journey: Journey) -> ChatGenerationChunk:
    """A chunk; one that says it is the last settles, and so can say what the answer cost."""
    if _is_last(chunk):
        journey.finish()
        if journey.cost is not None:
            chunk.generation_info = {**(chunk.generation_info or {}), OURS: {"cost": journey.cost}}
    return chunk


def _closing(last: ChatGenerationChunk, journey: Journey) -> Iterator[ChatGenerationChunk]:
    """The cost, after a stream that ended without saying so: in the empty chunk that core would add in its place."""
    if journey.cost is not None and not _is_last(last):
        message = AIMessageChunk(content="" if isinstance(last.message.content, str) else [], chunk_position="last")
        yield ChatGenerationChunk(message=message, generation_info={OURS: {"cost": journey.cost}})


def _is_last(chunk: ChatGenerationChunk) -> bool:
    return getattr(chunk.message, "chunk_position", None) == "last"
