"""One call of a pool of models: its lease at any time, what was heard of it, and how each attempt ends.

Exactly one end for every lease: settled, failed, or (cancelled, closed early, an exception nobody knows) committed at
what is known of its use. The provider's own exception is what the caller sees when no attempt is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from langchain_core.exceptions import ModelError
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from apikeyrouter.core.bound import most_of
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.ledger import Lease
from apikeyrouter.core.measure import IMAGE_TOKENS, MESSAGE_TOKENS, REPLY_TOKENS, Measure
from apikeyrouter.core.model import NO_TAGS, Request, Usage, dollars
from apikeyrouter.dispatch import Errand
from apikeyrouter.errors import ApiKeyRouterError, ProviderError, QuotaExhaustedError
from apikeyrouter.intake import dollars_of, timeout_of
from apikeyrouter.langchain.bindings import ToolSet
from apikeyrouter.langchain.errors import spoken
from apikeyrouter.langchain.inward import GATEWAY, OURS, failed_in
from apikeyrouter.langchain.listening import Ear, failure_of, loop_is_gone
from apikeyrouter.langchain.options import RoutingOptions
from apikeyrouter.ports import Answer
from apikeyrouter.reply import FailedAttempt, tried_by

if TYPE_CHECKING:
    from apikeyrouter.langchain.delegated import DelegatedLine

_BOUNDS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")

MOST_GONE: Final = 100
"""Connections of a closed event loop that one call may find in a shared pool, each once."""


class Journey:
    """The attempts of one call."""

    __slots__ = ("_cost", "_ended", "_gone", "_last", "_lease", "ear", "errand", "lease", "line", "router", "usage")

    def __init__(
        self,
        line: DelegatedLine,
        messages: Sequence[BaseMessage],
        params: Mapping[str, Any],
        options: RoutingOptions,
        *,
        streaming: bool = False,
        operation: str = "chat",
    ) -> None:
        self.line = line
        self.router = line.router
        self.ear = Ear()
        self.usage: UsageMetadata | None = None
        self._ended = False
        self.lease: Lease | None = None
        self._lease: Lease | None = None
        self._cost: int | None = None
        self._gone = 0
        self._last: BaseException | None = None
        try:
            timeout = timeout_of(options.timeout, self.router.settings.timeout_s)
            asked = _request(line, params, options, operation)
        except ApiKeyRouterError as error:
            raise spoken(error) from error.__cause__
        weight = _measure(messages, params)
        self.errand = Errand(self.router.dispatcher, asked, {}, weight, timeout, wait=options.wait is not False)

    def told(self) -> dict[str, Any]:
        """How the answer came about, for `generation_info`; the cost is known when the lease has been settled."""
        lease, attempts = self._lease, self.errand.attempts
        assert lease is not None
        decision = lease.decision
        return {
            OURS: {
                "key": lease.key_id,
                "provider": lease.provider,
                "model": lease.model,
                "cost": self.cost,
                "decision_id": decision.id,
                "attempts": attempts.count + 1,
                "failed": failed_in(self.failures) if attempts.failed else [],
                "waited_s": decision.waited_s,
            },
            GATEWAY: {"model": lease.model, "provider": lease.provider, "decision_id": decision.id},
        }

    @property
    def cost(self) -> str | None:
        """Dollars, once the lease has been settled; None before, and where the price is unknown."""
        return None if self._cost is None else str(dollars(self._cost))

    @property
    def failures(self) -> Iterable[FailedAttempt]:
        """The attempts that failed before the one that served."""
        attempts = self.errand.attempts
        return tried_by(attempts) if attempts.failed else ()

    # -- taking -----------------------------------------------------------------------------------------------------

    async def take(self) -> BaseChatModel:
        """The model of the next attempt."""
        try:
            return self._taken(await self._next())
        except ApiKeyRouterError as error:
            raise spoken(error) from error.__cause__

    async def _next(self) -> Lease:
        try:
            return await self.errand.lease()
        except ProviderError as error:
            raise self._theirs(error) from error.__cause__

    def take_now(self) -> BaseChatModel:
        """The same, blocking this thread where there is something to wait for."""
        try:
            return self._taken(self._at_once() or self.router.sync.wait_for(self._next()))
        except ApiKeyRouterError as error:
            raise spoken(error) from error.__cause__

    def _at_once(self) -> Lease | None:
        """A lease without crossing to another thread, where nobody waits and there is room."""
        errand = self.errand
        if errand.attempts.count:
            return None
        for room in errand.dispatcher.rooms.rooms.values():
            if room.line.size:
                return None
        try:
            return errand.router.acquire(
                errand.request, measure=errand.measure, timeout_s=errand.left, quiet=errand.wait
            )
        except QuotaExhaustedError:
            if not errand.wait:
                raise
            return None

    def _taken(self, lease: Lease) -> BaseChatModel:
        self.lease = self._lease = lease
        self.ear.hear(None)
        self.usage = None
        self._ended = False
        self.errand.dispatcher.retry_budget(lease.provider).earn()
        return self.line.deployments[lease.key_id].model

    # -- ending -----------------------------------------------------------------------------------------------------

    def settle(self, result: ChatResult) -> None:
        """An answer came."""
        message = result.generations[0].message if result.generations else None
        self.usage = message.usage_metadata if isinstance(message, AIMessage) else None
        self.finish()

    def bounded(self, model: BaseChatModel, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters; under a hard limit on cost with a bound on the answer, unless the model's own is tighter."""
        most, own = None if self.lease is None else self.lease.bound, getattr(model, "max_tokens", None)
        if most is None:
            return params
        return {**params, "max_tokens": min(most, own) if isinstance(own, int) and own > 0 else most}

    def heard(self, chunk: ChatGenerationChunk) -> ChatGenerationChunk:
        """A chunk came; its usage is added to the others'."""
        self._ended = self._ended or _ends(chunk)
        told = chunk.message.usage_metadata if isinstance(chunk.message, AIMessage) else None
        if told is not None:
            self.usage = told if self.usage is None else add_usage(self.usage, told)
        return chunk

    def finish(self) -> None:
        """The answer is complete, or its reader has enough of it."""
        lease, self.lease = self.lease, None
        if lease is None:
            return
        headers = self.ear.headers(self.errand.adapter(lease))
        done = self.errand.settle(lease, Answer(status=200, headers=headers), usage_in(self.usage))
        self._cost = None if done is None else done.cost

    def broke(self, error: BaseException) -> None:
        """A stream ended after its first chunk: closed by its reader, or broken."""
        if not self._ended:
            self.usage = None  # what was told on the way is not what will be billed
        if isinstance(error, GeneratorExit):
            self.finish()
            return
        lease, self.lease = self.lease, None
        found = None if lease is None else failure_of(error, self.errand.adapter(lease))
        if lease is not None:
            failure = Failure(kind=Kind.CANCELLED) if found is None else found[0]
            self.errand.router.fail(lease, replace(failure, billed=True), usage=usage_in(self.usage))
            self.errand.judge_all()

    def failed_now(self, error: BaseException) -> None:
        """An attempt failed; returns when another may follow, else raises the provider's own exception."""
        found = self._found(error)
        if found is not None:
            self.router.sync.wait_for(self._note(error, *found))

    async def failed(self, error: BaseException) -> None:
        """The same."""
        found = self._found(error)
        if found is not None:
            await self._note(error, *found)

    def _found(self, error: BaseException) -> tuple[Lease, Failure, Mapping[str, str]] | None:
        """Whom an exception blames. None: nobody, the same may be tried again. Raises what no provider caused."""
        lease, self.lease = self.lease, None
        assert lease is not None
        if isinstance(error, StopIteration | StopAsyncIteration):
            empty = Failure(kind=Kind.EMPTY, message="the stream ended without content", billed=True)
            return lease, empty, self.ear.headers(self.errand.adapter(lease))
        if self._gone < MOST_GONE and loop_is_gone(error):
            self._gone += 1
            self.router.release(lease)
            return None
        adapter = self.errand.adapter(lease)
        found = failure_of(error, adapter) if isinstance(error, Exception) else None
        if found is None:
            self.errand.router.fail(lease, Failure(kind=Kind.CANCELLED, billed=True))
            self.errand.judge_all()
            raise error
        return lease, found[0], found[1] or self.ear.headers(adapter)

    async def _note(self, error: BaseException, lease: Lease, failure: Failure, headers: Mapping[str, str]) -> None:
        self._last = error
        try:
            await self.errand.failed(lease, failure, headers)
        except ProviderError as ours:
            raise self._theirs(ours) from error.__cause__

    def _theirs(self, ours: ProviderError) -> BaseException:
        """The last attempt's own exception where LangChain's `except` clauses know it, else ours as one they know."""
        error = self._last
        if error is not None and isinstance(error, ModelError):
            tried = ", ".join(f"{one.key} {one.kind}" for one in self.failures)
            error.add_note(f"apikeyrouter tried: {tried}")
            known: BaseException = error
            return known
        made = spoken(ours)
        made.__cause__ = error
        return made


def _request(line: DelegatedLine, params: Mapping[str, Any], options: RoutingOptions, operation: str) -> Request:
    override = params.get("model")
    among = line.everybody if override is None else line.taking(str(override))
    return Request(
        model=str(override or next(iter(line.deployments.values())).name),
        operation=operation,
        among=among,
        provider=options.provider,
        tenant=options.tenant,
        user=options.user,
        tags=options.tags or NO_TAGS,
        session=options.session,
        priority=options.priority or 0,
        max_cost=dollars_of(options.max_cost),
        objective=options.objective,
        request_id=options.request_id,
        correlation_id=options.correlation_id,
    )


def _ends(chunk: ChatGenerationChunk) -> bool:
    """Whether the answer ends here, in the words of any provider."""
    message = chunk.message
    told = {**(chunk.generation_info or {}), **message.response_metadata}
    last = isinstance(message, AIMessageChunk) and message.chunk_position == "last"
    return last or bool(told.get("finish_reason") or told.get("stop_reason"))


def _measure(messages: Sequence[BaseMessage], params: Mapping[str, Any]) -> Measure:
    """What a call weighs, without turning its messages into anybody's shape."""
    chars, images = 0, 0
    for message in messages:
        content = message.content
        if isinstance(content, str):
            chars += len(content)
        else:
            for block in content:
                said = block if isinstance(block, str) else block.get("text")
                chars += len(said) if isinstance(said, str) else 0
                images += not isinstance(said, str)
    tools = params.get("tools")
    if isinstance(tools, ToolSet):
        chars += tools.chars
    bound = next((params[name] for name in _BOUNDS if isinstance(params.get(name), int)), None)
    answers = params["n"] if isinstance(params.get("n"), int) and params["n"] > 0 else 1
    fixed = REPLY_TOKENS + MESSAGE_TOKENS * len(messages) + IMAGE_TOKENS * images
    most = most_of({"messages": [_plain(message) for message in messages], "tools": [{}] if tools else []})
    return Measure(
        chars=chars,
        fixed=fixed,
        images=images,
        max_output_tokens=None if bound is None else bound * answers,
        answers=answers,
        most=most.tokens + (4 * tools.chars if isinstance(tools, ToolSet) else len(str(tools or ""))),
        unseen=most.unseen,
    )


def _plain(message: BaseMessage) -> dict[str, object]:
    """All of a message that a provider may read."""
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    extra = message.additional_kwargs
    return {"role": message.type, "content": message.content, "name": message.name, "tool_calls": [calls, extra]}


def usage_in(told: UsageMetadata | None) -> Usage | None:
    """LangChain's usage as the engine's."""
    if told is None:
        return None
    read, wrote = told.get("input_token_details") or {}, told.get("output_token_details") or {}
    return Usage(
        input_tokens=told["input_tokens"],
        output_tokens=told["output_tokens"],
        cache_read_tokens=read.get("cache_read") or 0,
        cache_write_tokens=read.get("cache_creation") or 0,
        reasoning_tokens=wrote.get("reasoning") or 0,
        audio_input_tokens=read.get("audio") or 0,
        audio_output_tokens=wrote.get("audio") or 0,
    )
