"""The native line: our own adapters send. Any provider the router knows, and no partner package.

One call of the model is one request of the engine, which tries its keys; retries, waiting, settling and what a break
means are decided there. Sync callers block on the router's own thread, so that a running loop does not matter.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from apikeyrouter.errors import ServiceUnavailableError
from apikeyrouter.langchain.errors import in_langchain
from apikeyrouter.langchain.inward import chunk_of, last_chunk, result_of
from apikeyrouter.langchain.options import RoutingOptions
from apikeyrouter.langchain.outward import canonical
from apikeyrouter.langchain.retries import Manager, atell, tell
from apikeyrouter.langchain.tools import choice_of, tools_of
from apikeyrouter.reply import FailedAttempt

if TYPE_CHECKING:
    from apikeyrouter.facade import ApiKeyRouter
    from apikeyrouter.streaming import RoutedStream

_NOT_SENT: Final = frozenset(
    {"stream", "stream_usage", "ls_structured_output_format", "structured_output_format", "max_retries", "strict"}
)


class NativeLine:
    """Sends over `router`. Not shared between models only because it holds nothing to share."""

    def __init__(self, router: ApiKeyRouter) -> None:
        self.router = router

    def body(self, messages: Sequence[BaseMessage], params: Mapping[str, Any]) -> dict[str, object]:
        """The canonical body. Raises InvalidRequestError for messages nobody can express."""
        made: dict[str, object] = {"messages": canonical(messages)}
        made.update({name: value for name, value in params.items() if value is not None and name not in _NOT_SENT})
        tools = params.get("tools")
        if tools:
            made["tools"] = tools_of(tools, strict=params.get("strict"))
            choice = choice_of(params.get("tool_choice"), tools_of(tools))
            made.pop("tool_choice", None)
            if choice is not None:
                made["tool_choice"] = choice
        return made

    def generate(
        self, messages: Sequence[BaseMessage], params: Mapping[str, Any], options: RoutingOptions, manager: Manager
    ) -> ChatResult:
        """A reply, blocking this thread."""
        with in_langchain():
            reply = self.router.sync.wait_for(self.router.route(self.body(messages, params), **options.said()))
        tell(manager, reply.metadata.failed)
        return result_of(reply.body, reply.usage, reply.metadata)

    async def agenerate(
        self, messages: Sequence[BaseMessage], params: Mapping[str, Any], options: RoutingOptions, manager: Manager
    ) -> ChatResult:
        """A reply."""
        with in_langchain():
            reply = await self.router.route(self.body(messages, params), **options.said())
        await atell(manager, reply.metadata.failed)
        return result_of(reply.body, reply.usage, reply.metadata)

    def stream(
        self, messages: Sequence[BaseMessage], params: Mapping[str, Any], options: RoutingOptions, manager: Manager
    ) -> Generator[ChatGenerationChunk]:
        """Chunks as they come; closing the iterator settles."""
        with in_langchain():
            stream = self.router.stream(self.body(messages, params), **options.said())
            ending = _Ending(stream)
            with closing(self.router.sync.chunks(stream)) as chunks:
                for chunk in chunks:
                    made = ending.take(chunk.data)
                    if made is not None:
                        yield made
            tell(manager, ending.failed)
            yield ending.last()

    async def astream(
        self, messages: Sequence[BaseMessage], params: Mapping[str, Any], options: RoutingOptions, manager: Manager
    ) -> AsyncGenerator[ChatGenerationChunk]:
        """Chunks as they come; closing the iterator settles."""
        with in_langchain():
            stream = self.router.stream(self.body(messages, params), **options.said())
            ending = _Ending(stream)
            async with aclosing(stream):
                async for chunk in stream:
                    made = ending.take(chunk.data)
                    if made is not None:
                        yield made
            await atell(manager, ending.failed)
            yield ending.last()


class _Ending:
    """What the last chunk says, gathered while a stream runs: its merged parts may be said only once."""

    def __init__(self, stream: RoutedStream) -> None:
        self.stream = stream
        self.head: Mapping[str, object] = {}

    def take(self, data: Mapping[str, object]) -> ChatGenerationChunk | None:
        """The chunk of a delta, if it says anything."""
        self.head = self.head or data
        return chunk_of(data)

    @property
    def failed(self) -> tuple[FailedAttempt, ...]:
        """Attempts that failed before the stream began."""
        return () if self.stream.metadata is None else self.stream.metadata.failed

    def last(self) -> ChatGenerationChunk:
        """The end."""
        metadata = self.stream.metadata
        if metadata is None:
            raise ServiceUnavailableError("The stream ended before it began; try again.")
        return last_chunk(self.head, self.stream.usage, metadata)
