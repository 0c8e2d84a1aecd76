"""The entries of a call, where alone its configuration can be seen: what it says of the routing is gathered here.

LangChain shows `configurable` and metadata to `invoke` and its siblings, not to what sends. So each of them takes the
options out of wherever they stand (options.py) and hands them on as one private argument, which neither the trace nor
the cache sees. What they mean is not known here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any, Literal, cast

from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import RunnableConfig

from apikeyrouter.langchain.options import NOTHING, PLACE, taken


class RoutedChatModel(BaseChatModel):
    """A chat model whose calls carry routing options. `affinity` "thread": a `thread_id` is the session."""

    affinity: Literal["none", "thread"] = "thread"

    def _routed(self, config: RunnableConfig | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The call's arguments with its routing options, if there are any, gathered into one."""
        options = taken(kwargs, config, affine=self.affinity == "thread")
        return kwargs if options is NOTHING else {**kwargs, PLACE: options}

    def invoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """See BaseChatModel."""
        return super().invoke(input, config, stop=stop, **self._routed(config, kwargs))

    async def ainvoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """See BaseChatModel."""
        return await super().ainvoke(input, config, stop=stop, **self._routed(config, kwargs))

    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """See BaseChatModel."""
        yield from super().stream(input, config, stop=stop, **self._routed(config, kwargs))

    async def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """See BaseChatModel. Closing the iterator settles at once, not at the loop's leisure."""
        chunks = super().astream(input, config, stop=stop, **self._routed(config, kwargs))
        async with aclosing(cast("Any", chunks)) as open_chunks:
            async for chunk in open_chunks:
                yield chunk

    def stream_events(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """See BaseChatModel."""
        if kwargs.get("version") == "v3":
            kwargs = self._routed(config, kwargs)
        return super().stream_events(input, config, **kwargs)

    def astream_events(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """See BaseChatModel."""
        if kwargs.get("version") == "v3":
            kwargs = self._routed(config, kwargs)
        return super().astream_events(input, config, **kwargs)
