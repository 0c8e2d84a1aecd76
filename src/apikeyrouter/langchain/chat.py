"""`ChatApiKeyRouter`: a chat model of LangChain that is every key you own.

What LangChain asks of a chat model, and nothing else: what sends is a line (native.py, delegated.py), what options mean
is options.py's, tools and answers are tools.py's and bindings.py's. One call is one run in the trace, however
many attempts it takes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from inspect import signature
from pathlib import Path
from typing import Any, Self, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel, LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr

from apikeyrouter.core.decision import Decision
from apikeyrouter.errors import MissingConfigurationError
from apikeyrouter.facade import ApiKeyRouter
from apikeyrouter.langchain.bindings import WISH, ToolSet, Wish
from apikeyrouter.langchain.delegated import DelegatedLine
from apikeyrouter.langchain.deployments import Keys, Models, deployments_of, enrol, made_of
from apikeyrouter.langchain.entries import RoutedChatModel
from apikeyrouter.langchain.native import NativeLine
from apikeyrouter.langchain.options import PLACE, RoutingOptions, taken_from
from apikeyrouter.langchain.profiles import common, meet, native_profile
from apikeyrouter.langchain.tools import Method, Tool, asked_of, choice_of, parsed, told_of, tools_of

OURS = "apikeyrouter"
_UNSAID = (None,) * 5
_NOT_TOLD = frozenset({PLACE, "tools", WISH})


class ChatApiKeyRouter(RoutedChatModel):
    """Chat model over every key of a router.

    Setup:
        `pip install 'apikeyrouter[langchain]'`. Keys are the router's: in its configuration file, or registered by
        hand. No partner package of LangChain is needed.

    Key init args:
        model: a model's name, `provider/model`, or an alias of the configuration.
        router: the `ApiKeyRouter` that decides and sends; `from_config(path)` makes one.
        temperature, max_tokens, stop: as everywhere; `model_kwargs` go into the body as they are.
        objective, tenant, request_tags, max_cost, timeout: what every call is routed by, unless it says otherwise.
        affinity: "thread" (or "none"): a conversation (`configurable["thread_id"]`) is the session, and keeps its key.

    Instantiate:
        llm = ChatApiKeyRouter.from_config("apikeyrouter.yaml", model="fast", objective="cost")
        llm = ChatApiKeyRouter.from_keys("openai:gpt-4o-mini", keys={"team-a": KEY_A, "team-b": KEY_B})
        llm = ChatApiKeyRouter.from_models([ChatOpenAI(...), ChatAnthropic(...)])

    Invoke:
        llm.invoke("hello", config={"configurable": {"apikeyrouter": {"tenant": "acme"}}})

    Stream:
        for chunk in llm.stream("hello"): print(chunk.text, end="")

    Async:
        await llm.ainvoke("hello"); `astream`, `abatch` alike.

    Tool calling:
        llm.bind_tools([search]).invoke("...").tool_calls

    Structured output:
        llm.with_structured_output(Answer).invoke("...")

    Token usage:
        message.usage_metadata, in streams on the last chunk; input includes cache, output includes reasoning.

    Response metadata:
        message.response_metadata["apikeyrouter"]: key, provider, model, cost, decision_id, attempts, failed, waited_s.
        In a stream the first chunk says it, and the last the cost. `llm.explain(message)` is the decision.

    Errors are of `apikeyrouter.langchain.errors`: ours, and langchain-core's neutral ones at the same time.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, populate_by_name=True, extra="forbid")

    model: str = Field(default="", alias="model_name")
    router: ApiKeyRouter | None = Field(default=None, exclude=True, repr=False)
    deployments: list[Any] = Field(default_factory=list, exclude=True, repr=False)
    """The pool of other integrations' models (ChatDeployment); empty: the router's own adapters send."""
    temperature: float | None = None
    max_tokens: int | None = None
    stop: list[str] | str | None = Field(default=None, alias="stop_sequences")
    timeout: float | None = None
    max_retries: int | None = Field(default=None, exclude=True)
    """Accepted and ignored: how often is tried is the router's to say."""
    streaming: bool = False
    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)
    """Accepted and ignored: keys are the router's."""
    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    objective: Any = None
    tenant: str | None = None
    request_tags: dict[str, str] | None = None
    max_cost: Any = None
    routing: RoutingOptions | None = Field(default=None, exclude=True, repr=False)
    _line: NativeLine | DelegatedLine | None = PrivateAttr(default=None)
    _alike: BaseChatModel | None = PrivateAttr(default=None)
    """A model that stands for the pool where all are of one kind: what asks a model for its type means them."""
    _told: LangSmithParams | None = PrivateAttr(default=None)
    """What that one says of itself in traces, where a call says nothing else."""

    def model_post_init(self, context: Any, /) -> None:
        """Make the pool's models fit, and known to the router."""
        super().model_post_init(context)
        if not self.deployments:
            return
        self.deployments = deployments_of(self.deployments, self._passed_on())
        self.router = self.router or ApiKeyRouter(log=False)
        enrol(self.router.enrolment, self.deployments)
        self._line = DelegatedLine(self.router, self.deployments)
        if len({type(one.model) for one in self.deployments}) == 1:
            self._alike = self.deployments[0].model
            self._told = self._alike._get_ls_params()
        if not self.model:
            names = {one.name for one in self.deployments}
            self.model = names.pop() if len(names) == 1 else "pool"

    def _passed_on(self) -> dict[str, Any]:
        """Fields that the pool's models take over."""
        return {"temperature": self.temperature, "max_tokens": self.max_tokens}

    # -- making -------------------------------------------------------------------------------------------------------

    @classmethod
    def from_config(cls, source: str | Path | Mapping[str, object], *, model: str, **fields: Any) -> Self:
        """A model over the router of a configuration file (or of its parsed content).

        Raises InvalidConfigurationError with every problem found.
        """
        return cls(router=ApiKeyRouter.from_config(source), model=model, **fields)

    @classmethod
    def from_models(cls, models: Models, *, router: ApiKeyRouter | None = None, **fields: Any) -> Self:
        """A model over other chat models, one for each key: a list, or ids with their models.

        Their copies retry nothing by themselves and tell the usage of streams. With `router` they are its keys too,
        under its budgets and policies. Raises InvalidConfigurationError for an empty pool.
        """
        return cls(deployments=deployments_of(models, {}), router=router, **fields)

    @classmethod
    def from_keys(cls, model: str, *, keys: Keys, router: ApiKeyRouter | None = None, **fields: Any) -> Self:
        """A model over one chat model of LangChain for each key: `"openai:gpt-4o-mini"` with keys by their ids.

        `keys` maps ids to secrets, or is a list of secrets. `limits` and `pool` are those of register_key();
        fields that are not this class's own (base_url, ...) go to the provider's integration.
        """
        own = {name: fields.pop(name) for name in list(fields) if name in cls.model_fields}
        return cls(deployments=made_of(model, keys, fields), router=router, **own)

    def with_routing(self, **options: Any) -> Self:
        """The same model over the same router, with other routing options: still a chat model, unlike a binding.

        `objective`, `tenant`, `user`, `tags`, `session`, `priority`, `max_cost`, `provider`, `timeout`, `wait`,
        `request_id`, `correlation_id`. Raises InvalidRequestError for another name.
        """
        found = RoutingOptions.of(options, "with_routing()").over(self.routing or RoutingOptions())
        return cast(Self, self.model_copy(update={"routing": found}))

    def explain(self, message: AIMessage | str) -> Decision:
        """The decision behind an answer (or of an id); str() of it says why, and why not the others."""
        told = message if isinstance(message, str) else message.response_metadata.get(OURS, {}).get("decision_id", "")
        return self.engine.explain(str(told))

    @property
    def engine(self) -> ApiKeyRouter:
        """The router. Raises MissingConfigurationError without one."""
        if self.router is None:
            raise MissingConfigurationError(
                "ChatApiKeyRouter has no router; pass router=, or make it by from_config(path, model=...)."
            )
        return self.router

    def _lined(self) -> NativeLine | DelegatedLine:
        if self._line is None:
            self._line = NativeLine(self.engine)
        return self._line

    # -- what LangChain asks ----------------------------------------------------------------------------------------

    @property
    def _llm_type(self) -> str:
        return OURS if self._alike is None else str(self._alike._llm_type)

    @property
    def _identifying_params(self) -> dict[str, Any]:
        params = {
            "model": self.model,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "stop": self.stop,
        }
        return {**{name: value for name, value in params.items() if value is not None}, **self.model_kwargs}

    @classmethod
    def get_lc_namespace(cls) -> list[str]:
        """Where LangChain files the class."""
        return ["apikeyrouter", "langchain"]

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        if self._alike is not None:
            said = {name: value for name, value in kwargs.items() if name not in _NOT_TOLD}
            if self._told is None or said or stop:
                return self._alike._get_ls_params(stop=stop, **said)
            return cast(LangSmithParams, dict(self._told))
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = OURS
        return params

    def _resolve_model_profile(self) -> Any:
        if self.deployments:
            return meet(one.model.profile for one in self.deployments)
        return None if self.router is None else native_profile(self.router)

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        kwargs.pop(PLACE, None)
        params = {**self._identifying_params, "_type": self._llm_type, "stop": stop, **kwargs}
        tools = kwargs.get("tools")
        if tools:
            params["tools"] = tools.shown if isinstance(tools, ToolSet) else tools_of(tools)
        if WISH in kwargs:
            params[WISH] = repr(kwargs[WISH])
        return params

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        kwargs.pop(PLACE, None)
        return str(super()._get_llm_string(stop=stop, **kwargs))

    # -- one call ---------------------------------------------------------------------------------------------------

    def _params(self, stop: list[str] | None, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Fields of the body: the model's own, then the call's."""
        stops = {"stop": stop or self.stop} if stop or self.stop else {}
        if self.deployments:
            return {**stops, **self.model_kwargs, **kwargs}
        return {**self._identifying_params, **stops, **kwargs}

    def _options(self, kwargs: dict[str, Any]) -> RoutingOptions:
        """The call's options over the model's own, taken out of the call's arguments."""
        found = taken_from(kwargs)
        if self.routing is not None:
            found = found.over(self.routing)
        said = (self.objective, self.tenant, self.request_tags, self.max_cost, self.timeout)
        if said == _UNSAID:
            return found
        names = ("objective", "tenant", "tags", "max_cost", "timeout")
        return found.over(RoutingOptions(**dict(zip(names, said, strict=True))))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        options = self._options(kwargs)
        return self._lined().generate(messages, self._params(stop, kwargs), options, run_manager)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        options = self._options(kwargs)
        return await self._lined().agenerate(messages, self._params(stop, kwargs), options, run_manager)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        options = self._options(kwargs)
        yield from self._lined().stream(messages, self._params(stop, kwargs), options, run_manager)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        options = self._options(kwargs)
        made = self._lined().astream(messages, self._params(stop, kwargs), options, run_manager)
        async with aclosing(made) as chunks:
            async for chunk in chunks:
                yield chunk

    # -- tools and answers --------------------------------------------------------------------------------------------

    def bind_tools(
        self,
        tools: Sequence[Tool],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with tools. `tool_choice`: "auto", "any", "none", a tool's name, or the provider's own form."""
        if self.deployments:
            said = {"tool_choice": tool_choice, "strict": strict, **kwargs}
            raw = ToolSet(tools, {name: value for name, value in said.items() if value is not None})
            return cast("Runnable[LanguageModelInput, AIMessage]", self.bind(tools=raw))
        bound = tools_of(tools, strict=strict)
        choice = choice_of(tool_choice, bound)
        if choice is not None:
            kwargs["tool_choice"] = choice
        return cast("Runnable[LanguageModelInput, AIMessage]", self.bind(tools=bound, **kwargs))

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        method: Method | None = None,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any] | Any]:
        """The model answering in a schema: a pydantic class, a TypedDict, or a JSON schema.

        "function_calling" works with every provider, "json_schema" where the provider has it; "json_mode" becomes
        "json_schema" where one has no such mode. Without `method` a pool of models leaves it to each of them.
        """
        if self.deployments:
            said = {name: value for name, value in (("method", method), ("strict", strict)) if value is not None}
            wish = {WISH: Wish(schema, {**said, **kwargs}), **told_of(schema, method, strict)}
            return parsed(self.bind(**wish), schema, include_raw=include_raw)
        asked = asked_of(schema, self._spoken_by_all(method or "function_calling"), strict=strict)
        return parsed(self.bind(**asked, **kwargs), schema, include_raw=include_raw)

    def _spoken_by_all(self, method: Method) -> Method:
        features = None if method != "json_mode" or self.router is None else common(self.router)
        return method if features is None or "json_mode" in features else "json_schema"


_METHODS: tuple[Any, ...] = (ChatApiKeyRouter._generate, ChatApiKeyRouter._agenerate)
for _method in _METHODS:
    _method.__signature__ = signature(_method)  # LangChain asks in every call, and asking anew is slow
