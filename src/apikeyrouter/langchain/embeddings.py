"""`ApiKeyRouterEmbeddings`: embeddings of LangChain over every key you own.

Sent by our own adapters, or by other integrations' embeddings (embedded.py), one for each key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self, cast

from langchain_core.embeddings import Embeddings
from pydantic import BaseModel, ConfigDict, Field

from apikeyrouter.errors import InvalidConfigurationError, ServiceUnavailableError
from apikeyrouter.facade import ApiKeyRouter
from apikeyrouter.langchain.deployments import Keys, enrol
from apikeyrouter.langchain.embedded import EmbeddingLine, Members, made_of, members_of
from apikeyrouter.langchain.errors import in_langchain
from apikeyrouter.langchain.options import RoutingOptions


class ApiKeyRouterEmbeddings(BaseModel, Embeddings):
    """Embeddings over every key of a router.

    Setup:
        `pip install 'apikeyrouter[langchain]'`. Keys are the router's, or those of a pool of other embeddings.

    Key init args:
        model: a model's name, `provider/model`, or an alias of the configuration.
        router: the `ApiKeyRouter` that decides and sends; `from_config(path)` makes one.
        dimensions: as providers take it. chunk_size: texts to one request.
        routing: what every request is routed by (`RoutingOptions`).

    Instantiate:
        embeddings = ApiKeyRouterEmbeddings.from_config("apikeyrouter.yaml", model="text-embedding-3-small")
        embeddings = ApiKeyRouterEmbeddings.from_keys("openai:text-embedding-3-small", keys={"a": KEY_A, "b": KEY_B})
        embeddings = ApiKeyRouterEmbeddings.from_models([OpenAIEmbeddings(...), OpenAIEmbeddings(...)])

    Embed:
        embeddings.embed_query("hello"); embeddings.embed_documents(["one", "two"]); `aembed_...` alike.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    model: str = ""
    router: ApiKeyRouter = Field(default_factory=lambda: ApiKeyRouter(log=False), exclude=True, repr=False)
    deployments: list[Any] = Field(default_factory=list, exclude=True, repr=False)
    """The pool of other integrations' embeddings; empty: the router's own adapters send."""
    dimensions: int | None = None
    chunk_size: int = Field(default=1_000, gt=0)
    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    routing: RoutingOptions | None = Field(default=None, exclude=True, repr=False)

    @classmethod
    def from_config(cls, source: str | Path | Mapping[str, object], *, model: str, **fields: Any) -> Self:
        """Embeddings over the router of a configuration file (or of its parsed content)."""
        return cls(router=ApiKeyRouter.from_config(source), model=model, **fields)

    @classmethod
    def from_models(cls, models: Members, *, router: ApiKeyRouter | None = None, **fields: Any) -> Self:
        """Over other embeddings, one for each key: a list, or ids with their embeddings. Their copies try once.

        Raises InvalidConfigurationError for an empty pool, and for members of different models: vectors of one do not
        compare with another's.
        """
        members = members_of(models)
        names = sorted({one.name for one in members})
        if len(names) > 1:
            raise InvalidConfigurationError(
                f"A pool of embeddings has one model, as vectors of two do not compare; these are {', '.join(names)}."
            )
        if router is not None:
            fields["router"] = router
        return cls(**{"model": names[0], "deployments": members, **fields})

    @classmethod
    def from_keys(cls, model: str, *, keys: Keys, router: ApiKeyRouter | None = None, **fields: Any) -> Self:
        """Over LangChain's embeddings for each key: `"openai:text-embedding-3-small"` with keys by their ids.

        `limits` and `pool` are those of register_key(); fields that are not this class's own go to the integration.
        """
        own = {name: fields.pop(name) for name in list(fields) if name in cls.model_fields}
        return cls.from_models(made_of(model, keys, fields), router=router, **own)

    def model_post_init(self, context: Any, /) -> None:
        """Make the pool known to the router."""
        if self.deployments:
            known = {key.id for key in self.router.list_keys()}
            enrol(self.router.enrolment, [one for one in self.deployments if one.id not in known])

    def with_routing(self, **options: Any) -> Self:
        """The same over the same router, with other routing options. Raises InvalidRequestError for unknown names."""
        found = RoutingOptions.of(options, "with_routing()").over(self.routing or RoutingOptions())
        return self.model_copy(update={"routing": found})

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text, in their order; blocks this thread."""
        if self.deployments:
            with in_langchain():
                line = self._line()
                return [vector for chunk in self._chunks(texts) for vector in line.embed(chunk, "documents")]
        return self.router.sync.wait_for(self.aembed_documents(texts))

    def embed_query(self, text: str) -> list[float]:
        """The vector of a text; blocks this thread."""
        if self.deployments:
            return self._line().embed([text], "query")[0]
        return self.embed_documents([text])[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text, in their order; chunks are asked for side by side."""
        with in_langchain():
            made = await asyncio.gather(*(self._chunk(chunk) for chunk in self._chunks(texts)))
        return [vector for part in made for vector in part]

    async def aembed_query(self, text: str) -> list[float]:
        """The vector of a text."""
        if self.deployments:
            return (await self._line().aembed([text], "query"))[0]
        return (await self.aembed_documents([text]))[0]

    def _line(self) -> EmbeddingLine:
        return EmbeddingLine(self.router, self.deployments, self.routing or RoutingOptions())

    def _chunks(self, texts: list[str]) -> Iterator[list[str]]:
        return (texts[at : at + self.chunk_size] for at in range(0, len(texts), self.chunk_size))

    async def _chunk(self, texts: list[str]) -> list[list[float]]:
        if self.deployments:
            return await self._line().aembed(texts, "documents")
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
