"""The delegated line of embeddings: other integrations' embeddings send, one for each key.

An attempt is a lease here as everywhere. LangChain's embeddings do not say what they used, so leases are settled at
their estimate, and corrected by the quota headers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain_core.embeddings import Embeddings
from langchain_core.messages import HumanMessage

from apikeyrouter.errors import InvalidConfigurationError, MissingDependencyError
from apikeyrouter.langchain.attempts import Journey
from apikeyrouter.langchain.delegated import DelegatedLine
from apikeyrouter.langchain.deployments import ChatDeployment, Keys, fitted, named_keys, options_in
from apikeyrouter.langchain.listening import listen, listening
from apikeyrouter.langchain.options import RoutingOptions

if TYPE_CHECKING:
    from apikeyrouter.facade import ApiKeyRouter

Members: TypeAlias = "Sequence[Embeddings | ChatDeployment] | Mapping[str, Embeddings | ChatDeployment]"
Verb = Literal["query", "documents"]


class EmbeddingLine(DelegatedLine):
    """Embeds over the members of a pool, which are keys of `router`."""

    def __init__(self, router: ApiKeyRouter, deployments: Sequence[ChatDeployment], options: RoutingOptions) -> None:
        super().__init__(router, deployments)
        self.options = options

    def embed(self, texts: list[str], verb: Verb) -> list[list[float]]:
        """A vector for each text, blocking this thread."""
        journey = self._journey(texts)
        while True:
            member: Any = journey.take_now()
            try:
                with listening(journey.ear):
                    made = [member.embed_query(texts[0])] if verb == "query" else member.embed_documents(texts)
            except BaseException as error:  # noqa: BLE001 - failed_now raises what is not ours to bear
                journey.failed_now(error)
                continue
            journey.finish()
            return list(made)

    async def aembed(self, texts: list[str], verb: Verb) -> list[list[float]]:
        """A vector for each text."""
        journey = self._journey(texts)
        while True:
            member: Any = await journey.take()
            try:
                with listening(journey.ear):
                    if verb == "query":
                        made = [await member.aembed_query(texts[0])]
                    else:
                        made = await member.aembed_documents(texts)
            except BaseException as error:  # noqa: BLE001 - failed raises what is not ours to bear
                await journey.failed(error)
                continue
            journey.finish()
            return list(made)

    def _journey(self, texts: list[str]) -> Journey:
        return Journey(self, [HumanMessage(text) for text in texts], {}, self.options, operation="embeddings")


def members_of(given: Members) -> list[ChatDeployment]:
    """Deployments fit for a pool: copies that try once. Raises InvalidConfigurationError for none."""
    pairs = given.items() if isinstance(given, Mapping) else ((None, one) for one in given)
    found = [_fit(name, one, at) for at, (name, one) in enumerate(pairs, start=1)]
    if not found:
        raise InvalidConfigurationError("A pool needs at least one member; pass from_models([OpenAIEmbeddings()]).")
    return found


def _fit(name: str | None, given: Embeddings | ChatDeployment, at: int) -> ChatDeployment:
    one = given if isinstance(given, ChatDeployment) else None
    member: Any = given if one is None else one.model
    fit = fitted(member, {}) if hasattr(type(member), "model_fields") else member
    for client in ("client", "async_client"):
        root: Any = getattr(getattr(fit, client, None), "_client", None)
        if hasattr(root, "with_options"):
            setattr(fit, client, root.with_options(max_retries=0).embeddings)
    listen(fit)
    package = type(member).__module__.partition(".")[0].removeprefix("langchain_")
    provider = (one.provider if one else "") or package.replace("_", "-")
    model = (one.name if one else "") or str(getattr(member, "model", None) or getattr(member, "model_name", "unknown"))
    own = one.id if one else ""
    return ChatDeployment(name or own or f"{provider}-{at}", fit, provider, model, one.options if one else {})


def made_of(model: str, keys: Keys, fields: Mapping[str, Any]) -> list[ChatDeployment]:
    """Embeddings of LangChain for each key. Raises MissingDependencyError without the `langchain` package."""
    try:
        from langchain.embeddings import init_embeddings  # only here: langchain-core is enough for the rest
    except ModuleNotFoundError:
        raise MissingDependencyError(
            "from_keys() needs langchain, which is not installed: pip install 'apikeyrouter[langchain]'"
        ) from None
    options, rest = options_in(fields)
    return [
        ChatDeployment(name, init_embeddings(model, api_key=key, max_retries=0, **rest), options=options)
        for name, key in named_keys(keys)
    ]
