"""`ApiKeyRoutingStrategy`: LiteLLM asks it for a deployment, and tells it how each call ended.

One object is both routing strategy and callback. The pick runs LiteLLM's own filter, acquires a lease among what is
left, waits for room where it may, and puts a mark in the request's metadata (marks.py); whatever LiteLLM calls back
first settles the lease, and settling again changes nothing. What a call weighs and how it ended is read in asking.py
and outcome.py, deployments are enrolled in fleet.py, LiteLLM's internals are named in compat.py.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.ledger import Lease
from apikeyrouter.core.model import Usage
from apikeyrouter.errors import QuotaExhaustedError, RoutingError
from apikeyrouter.facade import ApiKeyRouter
from apikeyrouter.litellm import compat
from apikeyrouter.litellm.asking import caller_of, due_in, is_again, measured, operation_of, request_of, wait_of
from apikeyrouter.litellm.compat import Deployment, Kwargs, LiteLLMRouter
from apikeyrouter.litellm.fleet import Fleet
from apikeyrouter.litellm.guard import require
from apikeyrouter.litellm.handover import ask_usage, dressed, keep_price, remember, sent, tell
from apikeyrouter.litellm.lookout import Lookout, Moved
from apikeyrouter.litellm.marks import Attempt, attempt_of
from apikeyrouter.litellm.outcome import (
    NO_TIMES,
    Times,
    counted_usage,
    error_body,
    error_headers,
    failure_of,
    headers_of,
    logged_headers,
    logged_usage,
    reason,
    usage_of,
)
from apikeyrouter.litellm.picks import Asked, Pick, any_of
from apikeyrouter.litellm.refusing import REFUSALS, Refusal, raised
from apikeyrouter.litellm.shared import MOST_WAIT_S, Config, engine_of
from apikeyrouter.litellm.tries import Tries
from apikeyrouter.waiting import Waiter

require()

from litellm.integrations.custom_logger import CustomLogger  # noqa: E402 - only after the version was looked at
from litellm.types.router import CustomRoutingStrategyBase  # noqa: E402

SOON_S: Final = 0.001
"""Who has waited to the end is asked for once more, for as long as the engine takes for a wait at all."""
DEFAULT_CALL_S: Final = 600.0
"""How long a call may take where nobody says: LiteLLM's own default."""


class _PROXY_ApiKeyRoutingStrategy(CustomRoutingStrategyBase, CustomLogger):  # noqa: N801
    """Routes a LiteLLM Router's calls by the engine. Make one with `install`.

    The name has `_PROXY_` in it because LiteLLM lets a request silence every other callback with `no-log`, and a client
    that settles nothing pays nothing.
    """

    engine: ApiKeyRouter
    max_wait: float
    _filter: compat.Filter
    _fleet: Fleet
    _lookout: Lookout

    def __init__(self, engine: ApiKeyRouter | None, *, max_wait: float = MOST_WAIT_S) -> None:
        super().__init__()
        self.apikeyrouter_instance = uuid4().hex  # LiteLLM keeps one callback of each class and public attributes
        self._router: Any = None
        self._timeout: float | None = None
        self._first_byte: float | None = None
        self._tries = Tries()
        self.started = False
        if engine is not None:
            self.start(engine, max_wait)

    def start(self, engine: ApiKeyRouter, max_wait: float) -> None:
        """Route by this engine from now on."""
        self.engine, self.max_wait, self.started = engine, max_wait, True
        self._fleet = Fleet(engine, self._listed)
        self._lookout = Lookout(self._fleet.look)

    @classmethod
    def install(
        cls, litellm_router: LiteLLMRouter, config: Config = None, *, max_wait: float = MOST_WAIT_S
    ) -> _PROXY_ApiKeyRoutingStrategy:
        """Take over a LiteLLM Router's choice of deployments.

        `config` is an ApiKeyRouter, the path or content of a configuration (budgets, policies, objective), or None;
        keys come from the Router's deployments. `max_wait` bounds waiting for room, in seconds; a request's timeout
        bounds it, too. Raises InvalidConfigurationError for `model_info.apikeyrouter` that cannot be read.
        """
        strategy = cls(engine_of(config), max_wait=max_wait)
        strategy.attach(litellm_router, check=True)
        return strategy

    def attach(self, router: LiteLLMRouter, *, check: bool = False) -> None:
        """Become a Router's strategy; again after LiteLLM has switched strategies or replaced its Router."""
        self._router = weakref.ref(router)
        self._timeout, self._first_byte = compat.timeout_for_all(router), compat.first_byte_for_all(router)
        self._filter = compat.filter_of(router)
        if check:
            self._fleet.check(compat.deployments(router))
        self.refresh(router)
        compat.attach(router, self)
        compat.cooldowns_off(router)
        compat.listen(self)

    def refresh(self, router: LiteLLMRouter) -> None:
        """Enrol what the Router has now; what it no longer has is taken out."""
        self._fleet.keep(compat.deployments(router))

    def _listed(self) -> list[Deployment] | None:
        router = None if self._router is None else self._router()
        return None if router is None else compat.deployments(router)

    # -- picking ----------------------------------------------------------------------------------------------------

    async def async_get_available_deployment(
        self,
        model: str,
        messages: Any = None,
        input: Any = None,
        specific_deployment: bool | None = False,
        request_kwargs: Kwargs | None = None,
    ) -> Deployment:
        """A deployment with its quota held; waits for room. Raises LiteLLM's RateLimitError with `retry-after`."""
        kwargs = {} if request_kwargs is None else request_kwargs
        router, name = self._router(), model
        if compat.has_pre_routing(router):
            name, messages = await compat.pre_routed(router, model, kwargs, messages, input)
        asked = (name, messages, input, specific_deployment, compat.for_the_filter(kwargs))
        pool = await self._filter(router, name, kwargs, messages, input, specific_deployment)
        pick = self._pick(asked, pool, kwargs)
        if pick is None:
            return any_of(pool)
        pick.heard = request_kwargs is not None
        try:
            lease = self._elsewhere(pick) if self._tries else None
            if lease is None:
                found = self._ask(pick, pick.until) if pick.wait else self._now(pick)
                lease = found if isinstance(found, Lease) else await self._when_free(pick, found)
        except REFUSALS as error:
            raise self._refused(pick, error, model) from error
        return self._granted(pick, lease)

    def get_available_deployment(
        self,
        model: str,
        messages: Any = None,
        input: Any = None,
        specific_deployment: bool | None = False,
        request_kwargs: Kwargs | None = None,
    ) -> Deployment:
        """The same without a loop: the calling thread waits, in one line with everybody else of its engine."""
        kwargs = {} if request_kwargs is None else request_kwargs
        asked = (model, messages, input, specific_deployment, compat.for_the_filter(kwargs))
        pool = compat.healthy_now(self._router(), model, kwargs, messages, input, specific_deployment)
        pick = self._pick(asked, pool, kwargs)
        if pick is None:
            return any_of(pool)
        pick.heard, pick.blocking = request_kwargs is not None, True
        try:
            lease = self._elsewhere(pick) or self._blocking(pick)
        except REFUSALS as error:
            raise self._refused(pick, error, model) from error
        return self._granted(pick, lease)

    def _pick(self, asked: Asked, pool: Any, kwargs: Kwargs) -> Pick | None:
        """Everything a pick needs; None where the caller brings a key of its own."""
        if compat.brings_credentials(kwargs):
            return None
        model, messages, given, _, _ = asked
        crew = self._fleet.crew([pool] if isinstance(pool, dict) else pool)
        operation = operation_of(messages, given, kwargs)
        measure = measured(operation, messages, given, kwargs, crew.max_output)
        caller = caller_of(kwargs)
        patience = timeout = compat.timeout_in(kwargs) or crew.timeout or self._timeout
        lasts = DEFAULT_CALL_S if timeout is None else timeout
        if kwargs.get("stream"):
            patience = compat.first_byte_in(kwargs) or crew.first_byte or self._first_byte or timeout
            lasts = max(lasts, DEFAULT_CALL_S)
        request = request_of(model, operation, caller, kwargs, lasts)
        request.among = crew.among
        began = now = self._fleet.now()
        if self._tries:
            began = self._tries.began(request.correlation_id or "", now, again=is_again(kwargs))
        pick = Pick(asked, crew, request, measure, kwargs, began)
        request.due = None if patience is None else began + due_in(patience)
        pick.wait = wait_of(caller.options, None if request.due is None else request.due - now, self.max_wait)
        pick.until = now + pick.wait
        return pick

    def _now(self, pick: Pick) -> Lease:
        """A lease at once. What was changed in place is seen in what was chosen, or in that nothing could be."""
        while True:
            try:
                lease = self.engine.acquire(pick.request, measure=pick.measure)
            except RoutingError:
                if not self._fleet.moved(pick.crew):
                    raise
            else:
                if self._still(pick, lease) is not None:
                    return lease
            pick.read(self._fleet.reread(pick.crew.pool))

    def _ask(self, pick: Pick, deadline: float) -> Lease | Waiter | None:
        """A lease at once, or who waits for one; None where LiteLLM's list was changed since it was read."""
        try:
            found = self.engine.dispatcher.rooms.here().ask(pick.request, pick.measure, None, deadline)
        except RoutingError:
            if not self._fleet.moved(pick.crew):
                raise
            return None
        return self._still(pick, found) if isinstance(found, Lease) else found

    def _still(self, pick: Pick, lease: Lease) -> Lease | None:
        """The lease, given back where the deployment it is for was changed in place."""
        if pick.crew.members[lease.key_id][1].current:
            return lease
        self.engine.release(lease)
        return None

    async def _when_free(self, pick: Pick, found: Waiter | None = None) -> Lease:
        """A lease as soon as there is room, among what LiteLLM has by then; `found` is who waits already."""
        while True:
            lease = None if found is None else await self._waited(pick, found)
            if lease is not None:
                return lease
            pick.read(self._fleet.reread(await self._filtered(pick)))
            asked = self._ask(pick, max(pick.until, self._fleet.now() + SOON_S))
            if isinstance(asked, Lease):
                return asked
            found = asked

    async def _waited(self, pick: Pick, waiter: Waiter) -> Lease | None:
        crew, room = pick.crew, self.engine.dispatcher.rooms.here()
        try:
            lease = await self._lookout.watch(room.wait(waiter), crew.version)
        except Moved:
            return None
        except RoutingError:
            if not self._fleet.moved(crew):
                raise
            return None
        if crew.version == self._fleet.look():
            return self._still(pick, lease)
        self.engine.release(lease)
        return None

    async def _filtered(self, pick: Pick) -> list[Deployment]:
        """What LiteLLM's filter leaves now."""
        model, messages, given, specific, taken = pick.asked
        pick.kwargs.update(taken)
        router = self._router()
        if pick.blocking:
            pool = compat.healthy_now(router, model, pick.kwargs, messages, given, specific)
        else:
            pool = await self._filter(router, model, pick.kwargs, messages, given, specific)
        return [pool] if isinstance(pool, dict) else pool

    def _blocking(self, pick: Pick) -> Lease:
        """A lease for a thread, which stands still until there is room."""
        try:
            return self._now(pick)
        except QuotaExhaustedError as error:
            if error.retry_after is None or error.retry_after > pick.wait:
                raise
        return self.engine.sync.wait_for(self._when_free(pick))

    def _elsewhere(self, pick: Pick) -> Lease | None:
        """For a call that has failed before: a key it has not failed with, if one has room now."""
        failed = self._tries.keys(pick.trace)
        others = frozenset(pair for pair in pick.crew.among if pair[0] not in failed) if failed else None
        if not others or others == pick.crew.among:
            return None
        pick.request.among = others
        try:
            lease = self.engine.acquire(pick.request, measure=pick.measure)
        except RoutingError:
            pick.request.among = pick.crew.among
            return None
        if self._still(pick, lease) is None:
            pick.read(self._fleet.reread(pick.crew.pool))
            return None
        return lease

    def _refused(self, pick: Pick, error: Refusal, model: str) -> Exception:
        """LiteLLM's error; a fallback waits only for what is left of the time."""
        if self._fleet.now() - pick.began > SOON_S:
            self._tries.note(pick.trace, pick.began)
        return raised(error, model)

    def _granted(self, pick: Pick, lease: Lease) -> Deployment:
        member, one = pick.crew.members[lease.key_id]
        attempt = Attempt(lease, self.engine, pick.trace)
        deployment = dressed(member, one)
        if not pick.heard:
            self.engine.settle(lease)
            return deployment
        remember(pick.kwargs, attempt, deployment)
        if lease.limited:
            keep_price(pick.kwargs, pick.request.operation, lease.bound)
        if pick.kwargs.get("stream") and one.asks_usage and pick.request.operation == "chat":
            ask_usage(pick.kwargs)
        return deployment

    # -- what LiteLLM tells -----------------------------------------------------------------------------------------

    async def async_pre_call_deployment_hook(self, kwargs: Mapping[str, Any], call_type: Any) -> None:
        """The call is about to be sent."""
        sent(kwargs)

    def log_pre_api_call(self, model: Any, messages: Any, kwargs: Mapping[str, Any]) -> None:
        """The same, for calls without a loop."""
        sent(kwargs.get("litellm_params"))

    async def async_post_call_success_deployment_hook(
        self, request_data: Mapping[str, Any], response: Any, call_type: Any
    ) -> None:
        """A whole answer, before its caller gets it."""
        attempt = self._open(request_data)
        if attempt is not None:
            self._succeeded(attempt, usage_of(response), headers_of(response))
            tell(response, attempt)

    async def async_post_call_failure_deployment_hook(
        self, request_data: Mapping[str, Any], exception: BaseException, call_type: Any, fallback_depth: Any = None
    ) -> None:
        """One attempt failed, before the next is picked."""
        self._ended_badly(self._open(request_data), exception)

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self.log_success_event(kwargs, response_obj, start_time, end_time)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self.log_failure_event(kwargs, response_obj, start_time, end_time)

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A call is over: streams end here, and everything without a loop."""
        attempt = self._open(kwargs.get("litellm_params"))
        if attempt is None:
            return
        if kwargs.get("cache_hit"):
            self.engine.release(attempt.lease)
            return
        usage = logged_usage(kwargs, response_obj) or counted_usage(response_obj, attempt.lease.need[2])
        self._succeeded(attempt, usage, logged_headers(kwargs), Times.of(kwargs, start_time, end_time))

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A call failed: without a loop, or in the middle of its stream."""
        error = kwargs.get("exception")
        self._ended_badly(
            self._open(kwargs.get("litellm_params")),
            error if isinstance(error, BaseException) else RuntimeError("no reason given"),
            logged_usage(kwargs, response_obj) if kwargs.get("stream") else None,
        )

    def _open(self, kwargs: Mapping[str, Any] | None) -> Attempt | None:
        """The attempt of this engine that a call is, while nobody has settled it."""
        attempt = attempt_of(kwargs)
        return attempt if attempt is not None and attempt.open and attempt.engine is self.engine else None

    # -- settling ---------------------------------------------------------------------------------------------------

    def _succeeded(
        self, attempt: Attempt, usage: Usage | None, headers: Mapping[str, str], times: Times = NO_TIMES
    ) -> None:
        lease = attempt.lease
        if self._tries:
            self._tries.forget(attempt.trace)
        if usage is None and lease.decision.request.operation == "other":
            usage = Usage()
        self.engine.settle(lease, usage, headers=headers, latency_s=times.latency_s, first_byte_s=times.first_byte_s)

    def _ended_badly(self, attempt: Attempt | None, error: BaseException, usage: Usage | None = None) -> None:
        if attempt is None:
            return
        found = failure_of(error)
        if isinstance(found, Failure) and not (found.sent and attempt.sent):
            self.engine.release(attempt.lease)
            return
        failure = self.engine.fail(attempt.lease, found, error_headers(error), error_body(error), usage=usage)
        lease = attempt.lease
        self._tries.note(attempt.trace, lease.at - lease.decision.waited_s, lease.key_id)
        if failure.kind is Kind.UNAUTHENTICATED:
            self._fleet.refused(attempt.lease.key_id, reason(failure))

    def __repr__(self) -> str:
        return f"<ApiKeyRoutingStrategy {self.engine!r}>"


ApiKeyRoutingStrategy = _PROXY_ApiKeyRoutingStrategy
