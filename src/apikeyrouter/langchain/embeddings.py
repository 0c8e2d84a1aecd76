"""`ApiKeyRouterEmbeddings`: embeddings of LangChain over every key you own, sent by our own adapters."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self, cast

from langchain_core.embeddings import Embeddings
from pydantic import BaseModel, ConfigDict, Field

from apikeyrouter.errors import ServiceUnavailableError
from apikeyrouter.facade import ApiKeyRouter
from apikeyrouter.langchain.errors import in_langchain
from apikeyrouter.langchain.options import RoutingOptions


class ApiKeyRouterEmbeddings(BaseModel, Embeddings):
    """Embeddings over every key of a router.

    Setup:
        `pip install 'apikeyrouter[langchain]'`. Keys are the router's.

    Key init args:
        model: a model's name, `provider/model`, or an alias of the configuration.
        router: the `ApiKeyRouter` that decides and sends; `from_config(path)` makes one.
        dimensions: as providers take it. chunk_size: texts to one request.
        routing: what every request is routed by (`RoutingOptions`).

    Instantiate:
        embeddings = ApiKeyRouterEmbeddings.from_config("apikeyrouter.yaml", model="text-embedding-3-small")

    Embed:
        embeddings.embed_query("hello"); embeddings.embed_documents(["one", "two"]); `aembed_...` alike.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    model: str
    router: ApiKeyRouter = Field(exclude=True, repr=False)
    dimensions: int | None = None
    chunk_size: int = Field(default=1_000, gt=0)
    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    routing: RoutingOptions | None = Field(default=None, exclude=True, repr=False)

    @classmethod
    def from_config(cls, source: str | Path | Mapping[str, object], *, model: str, **fields: Any) -> Self:
        """Embeddings over the router of a configuration file (or of its parsed content)."""
        return cls(router=ApiKeyRouter.from_config(source), model=model, **fields)

    def with_routing(self, **options: Any) -> Self:
        """The same over the same router, with other routing options. Raises InvalidRequestError for unknown names."""
        found = RoutingOptions.of(options, "with_routing()").over(self.routing or RoutingOptions())
        return self.model_copy(update={"routing": found})

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text, in their order; blocks this thread."""
        return self.router.sync.wait_for(self.aembed_documents(texts))

    def embed_query(self, text: str) -> list[float]:
        """The vector of a text; blocks this thread."""
        return self.embed_documents([text])[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text, in their order; chunks are asked for side by side."""
        with in_langchain():
            made = await asyncio.gather(*(self._chunk(chunk) for chunk in self._chunks(texts)))
        return [vector for part in made for vector in part]

    async def aembed_query(self, text: str) -> list[float]:
        """The vector of a text."""
        return (await self.aembed_documents([text]))[0]

    def _chunks(self, texts: list[str]) -> Iterator[list[str]]:
        return (texts[at : at + self.chunk_size] for at in range(0, len(texts), self.chunk_size))

    async def _chunk(self, texts: list[str]) -> list[list[float]]:
        body: dict[str, object] = {"model": self.model, "input": texts, **self.model_kwargs}
        if self.dimensions is not None:
            body["dimensions"] = self.dimensions
        options = (self.routing or RoutingOptions()).said()
        options["operation"] = "embeddings"
        reply = await self.router.route(body, **options)
        vectors = reply.content
        if not isinstance(vectors, list) or len(vectors) != len(texts):
            raise ServiceUnavailableError(
                f"{reply.metadata.provider} returned another number of vectors than the {len(texts)} texts it was sent."
            )
        return cast("list[list[float]]", vectors)
