"""Send a request until it succeeds, fails for good, or its one deadline passes.

Each attempt is a lease of its own. What failed decides where the next may go (core/retry.py). Asking a provider again
is paid from its retry budget and waits first; going to another provider costs nothing and waits for nothing. A refused
key is judged only when another key has shown whether the key or the provider is at fault: the same refusal under two
keys of a provider, and no success there, blames the provider. A stream may change key until its answer begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

from apikeyrouter.core.decision import Decision
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.ledger import Lease, Settlement
from apikeyrouter.core.model import OUTPUT, Request, Usage
from apikeyrouter.core.retry import (
    BACKS_OFF,
    OUTCOME_UNKNOWN,
    Attempts,
    Failover,
    Next,
    RetryBudget,
    RetrySettings,
    backoff,
)
from apikeyrouter.core.tokens import Measure
from apikeyrouter.errors import (
    BudgetExceededError,
    ConfigurationError,
    InvalidRequestError,
    MissingConfigurationError,
    ProviderError,
    RoutingError,
)
from apikeyrouter.once import Once, mark_for, mark_of, weight_of
from apikeyrouter.ports import Adapter, Answer, Body, Call, ChunkStream
from apikeyrouter.reply import FailedAttempt, Reply, RoutingMetadata, error_of, metadata_of
from apikeyrouter.router import LEASE_GRACE_S, Router
from apikeyrouter.waiting import WaitingRooms

if TYPE_CHECKING:
    from apikeyrouter.streaming import RoutedStream

__all__ = ["Dispatcher", "Errand", "FailedAttempt", "Reply", "RoutingMetadata", "metadata_of"]

_JUDGED_LATE: Final = frozenset({Kind.UNAUTHENTICATED})
LEAST_PATIENCE_S: Final = 1.0
"""A provider that was given less than this to answer has not failed."""
BOUND_OF: Final = {"chat": "max_completion_tokens", "responses": "max_output_tokens"}
"""What a body calls the most tokens of an answer, where it is not max_tokens."""


class Errand:
    """One request under way: its attempts, its deadline, and the verdicts still open."""

    def __init__(
        self, dispatcher: Dispatcher, request: Request, body: Body, measure: Measure, timeout: float, *, wait: bool
    ) -> None:
        self.dispatcher = dispatcher
        self.router = dispatcher.router
        self.request = request
        self.body = body
        self.measure = measure
        self.wait = wait
        self.deadline = self.router.now() + timeout
        self.attempts = Attempts()
        self.open_verdicts: list[tuple[Lease, Failure]] = []
        self.paid: str | None = None
        self.last: ProviderError | None = None
        self.mark = ""

    @property
    def left(self) -> float:
        return self.deadline - self.router.now()

    async def lease(self) -> Lease:
        """The next attempt's lease. When nobody is left to try in time, the last attempt's failure is the answer."""
        paid, self.paid = self.paid, None
        try:
            lease = await self._acquire()
        except BaseException as error:
            self._refund(paid)
            self.judge_all()
            if self.last is None or not isinstance(error, RoutingError):
                raise
            if error.retry_after is not None:
                self.last.retry_after = error.retry_after
            raise self.last from error
        if lease.provider != paid:
            self._refund(paid)
        return lease

    async def _acquire(self) -> Lease:
        try:
            return await self._ask()
        except BudgetExceededError as refused:
            if not await self._counted(refused):
                raise
            return await self._ask()

    async def _counted(self, refused: BudgetExceededError) -> bool:
        """Whether the body's tokens are now known exactly, where the most they could be was too dear."""
        d = refused.decision
        if not isinstance(d, Decision) or not self.body or self.request.input_tokens is not None:
            return False
        from apikeyrouter.tokenizer import count  # only for those who would be refused

        models = {candidate.deployment.model for candidate in d.roster.candidates}
        self.request.input_tokens = await asyncio.to_thread(count, models, self.request.operation, self.body)
        return self.request.input_tokens is not None

    async def _ask(self) -> Lease:
        attempts = self.attempts if self.attempts.count else None
        if self.wait:
            return await self.dispatcher.rooms.here().acquire(self.request, self.measure, attempts, self.deadline)
        return self.router.acquire(self.request, measure=self.measure, attempts=attempts, timeout_s=self.left)

    def call(self, lease: Lease) -> Call:
        """The attempt, ready to send. Raises MissingConfigurationError for a key that has no material here."""
        if lease.reveal is None:
            raise MissingConfigurationError(
                f"Key '{lease.key_id}' was registered without a secret, so nothing can be sent with it; "
                f"give it one with rotate_key."
            )
        return Call(
            operation=self.request.operation,
            model=lease.model,
            body=self._bounded(lease),
            secret=_Held(lease),
            timeout=max(0.001, self.left),
            request_id=self.request.request_id or lease.decision.id,
            attempt=self.attempts.count + 1,
            idempotency_key=self.idempotency_key(lease),
            stream_s=self.router.settings.stream_s,
        )

    def goes_on(self, lease: Lease) -> None:
        """A stream's content has begun: its lease lasts as long as the stream may."""
        until = self.router.now() + self.router.settings.stream_s + LEASE_GRACE_S
        lease.deadline = max(lease.deadline, until)

    def idempotency_key(self, lease: Lease) -> str:
        """What marks all attempts of this request as one, for operations that send it; made when first needed."""
        if not self.mark and self._is_marked(lease):
            self.mark = mark_for(self.request)
        return self.mark

    def _bounded(self, lease: Lease) -> Body:
        """The body; under a hard limit an answer that the caller left unbounded is bounded by what was held for it."""
        if lease.bound is None:
            return self.body
        return {**self.body, BOUND_OF.get(self.request.operation, "max_tokens"): lease.bound}

    def adapter(self, lease: Lease) -> Adapter:
        return self.dispatcher.adapters[lease.provider]

    def settle(
        self, lease: Lease, answer: Answer | ChunkStream, usage: Usage | None, first_s: float | None = None
    ) -> Settlement | None:
        """An attempt succeeded: whoever its provider refused before was refused for a reason of its own.

        `first_s` are the seconds to the first content of a stream.
        """
        if usage is not None and self.measure.tier and not usage.service_tier:
            usage = replace(usage, service_tier=self.measure.tier)
        adapter = self.adapter(lease)
        readings, identity = adapter.limits(answer.headers), adapter.identity(answer.headers)
        first = answer.first_byte_s if first_s is None else first_s
        done = self.router.settle(lease, usage, readings=readings, identity=identity, first_byte_s=first)
        self.judge_all(served=lease.provider)
        return done

    async def failed(self, lease: Lease, failure: Failure, headers: Mapping[str, str]) -> None:
        """Record a failed attempt; returns when another may follow, else raises the error."""
        late = failure.kind in _JUDGED_LATE
        excused = self._was_hurried(lease, failure)
        adapter = self.adapter(lease)
        readings, identity = adapter.limits(headers), adapter.identity(headers)
        self.router.fail(lease, failure, readings=readings, identity=identity, judge=not (late or excused))
        if late:
            self.open_verdicts.append((lease, failure))
        step = self.attempts.note(
            failure,
            key=lease.key_id,
            pool=lease.candidate.pools[-1].id,
            provider=lease.provider,
            model=lease.model,
            settings=self._retry_settings(lease),
            elsewhere=any(c.deployment.provider != lease.provider for c in lease.decision.roster.candidates),
        )
        more = ""
        if self._may_be_done(lease, failure) and not self._stays_with(lease):
            step = Next.STOP
            more = f"; it may have been carried out, and '{self.request.operation}' is not to be done twice"
        if step is Next.ANY:
            self._pay(lease.provider)
        self.last = error_of(failure, lease, self.attempts, more)
        self._charge(lease, failure)
        pause = self._pause(lease, failure)
        if step is Next.STOP or pause >= self.left:
            self._refund(self.paid)
            self.judge_all()
            raise self.last
        if pause:
            await self.router.clock.sleep(pause)

    def _retry_settings(self, lease: Lease) -> RetrySettings:
        """The settings, with what the policies in force say of failures."""
        settings, actions = self.router.settings.retry, lease.decision.verdict.actions
        if actions.max_attempts is not None:
            settings = replace(settings, attempts=actions.max_attempts)
        if actions.failover is not None:
            settings = replace(settings, failover=cast(Failover, actions.failover))
        return settings

    def _was_hurried(self, lease: Lease, failure: Failure) -> bool:
        """Whether the caller's own deadline ended an attempt that had less time than answers take: nobody's fault."""
        if failure.kind is not Kind.TIMEOUT or failure.status is not None or self.left > 0:
            return False
        usual = lease.candidate.deployment.latency.expected_s(lease.need[OUTPUT])
        return self.router.now() - lease.at < max(LEAST_PATIENCE_S, 2.0 * usual)

    def _may_be_done(self, lease: Lease, failure: Failure) -> bool:
        """Whether trying again could do twice what its provider's description does not call idempotent."""
        if not failure.sent or failure.kind not in OUTCOME_UNKNOWN:
            return False
        safe = self.adapter(lease).capabilities.custom.get("idempotent")
        return isinstance(safe, frozenset) and self.request.operation not in safe

    def _is_marked(self, lease: Lease) -> bool:
        """Whether the operation sends an idempotency key, by which its provider knows a repeat."""
        marked = self.adapter(lease).capabilities.custom.get("marked")
        return isinstance(marked, frozenset) and self.request.operation in marked

    def _stays_with(self, lease: Lease) -> bool:
        """A marked request may be repeated by the same key: another account would not know the mark."""
        if not self._is_marked(lease):
            return False
        self.attempts.only_key = lease.key_id
        return True

    def _charge(self, lease: Lease, failure: Failure) -> None:
        """An attempt whose outcome is unknown counts against every max_cost: it may have been billed."""
        if failure.billed:
            self.attempts.billed += lease.cost_held or lease.decision.cost or 0

    def _pay(self, provider: str) -> None:
        """Take a retry from the provider's budget; without one only others may be asked."""
        if self.dispatcher.retry_budget(provider).spend():
            self.paid = provider
        else:
            self.attempts.avoid_providers.add(provider)

    def _refund(self, paid: str | None) -> None:
        if paid is not None:
            self.dispatcher.retry_budget(paid).refund()

    def _pause(self, lease: Lease, failure: Failure) -> float:
        """Seconds before the same provider may be asked again: its own wish, or a growing random time."""
        if failure.kind not in BACKS_OFF or self.attempts.avoids(lease.provider, lease.model):
            return 0.0
        own = backoff(self.attempts.provider_faults, self.router.chance(), self.router.settings.retry)
        return max(own, failure.retry_after or 0.0)

    def judge_all(self, served: str | None = None) -> None:
        """Close the open verdicts. Where a provider `served`, or refused only one key, the keys are at fault."""
        refused: dict[str, set[str]] = {}
        for lease, _ in self.open_verdicts:
            refused.setdefault(lease.provider, set()).add(lease.key_id)
        for lease, failure in self.open_verdicts:
            if lease.provider == served or len(refused[lease.provider]) == 1:
                self.router.judge(lease, failure)
            else:
                self.router.judge(lease, Failure(kind=Kind.SERVER_ERROR, status=failure.status, code=failure.code))
        self.open_verdicts.clear()


class _Held:
    """The secret of a lease, also after the key's material was rotated."""

    __slots__ = ("_lease",)

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def reveal(self) -> str:
        return self._lease.secret()

    def __repr__(self) -> str:
        return "Secret('*****')"


class Dispatcher:
    """Adapters by provider, retry budgets, waiting rooms; route() and stream()."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.adapters: dict[str, Adapter] = {}
        self.rooms = WaitingRooms(router)
        self.once: Once[Reply] = Once(router.now, lambda reply: weight_of(reply.raw) + weight_of(reply.body))
        self._retry_budgets: dict[str, RetryBudget] = {}

    def retry_budget(self, provider: str) -> RetryBudget:
        found = self._retry_budgets.get(provider)
        if found is None:
            settings = self.router.settings.retry
            found = self._retry_budgets[provider] = RetryBudget(settings.budget_share, settings.budget_floor)
        return found

    async def route(self, request: Request, body: Body, measure: Measure, timeout: float, *, wait: bool) -> Reply:
        """One reply, or the error that ended the last attempt. The same request id again gets the first one's reply."""
        errand = Errand(self, request, body, measure, timeout, wait=wait)
        if request.request_id is None:
            return await self._route(errand)
        name = (request.tenant, request.user, request.request_id)
        mark = mark_of(request.operation, request.provider, body)
        return await self.once.run(name, mark, lambda: self._route(errand), within=timeout)

    async def _route(self, errand: Errand) -> Reply:
        while True:
            lease = await errand.lease()
            self.retry_budget(lease.provider).earn()
            answer = await self._send(errand, lease)
            try:
                if answer.failure is None:
                    done = errand.settle(lease, answer, answer.usage)
                    return self._reply(errand, lease, answer, done)
                await errand.failed(lease, answer.failure, answer.headers)
            except BaseException:
                # Only a lease still open is meant: an adapter that breaks its promises must not keep it.
                self.router.fail(lease, Failure(kind=Kind.CANCELLED, billed=True))
                raise

    async def _send(self, errand: Errand, lease: Lease) -> Answer:
        try:
            return await errand.adapter(lease).send(errand.call(lease))
        except (InvalidRequestError, ConfigurationError):
            self.router.release(lease)
            errand.judge_all()
            raise
        except BaseException:
            # Cancelled, or an adapter that broke its promise: the request may have been sent, so its estimate stands.
            self.router.fail(lease, Failure(kind=Kind.CANCELLED, billed=True))
            errand.judge_all()
            raise

    def _reply(self, errand: Errand, lease: Lease, answer: Answer, done: Settlement | None) -> Reply:
        return Reply(
            content=answer.content,
            usage=answer.usage,
            body=answer.body,
            raw=answer.raw,
            headers=answer.headers,
            metadata=metadata_of(errand.attempts, lease, None if done is None else done.cost),
        )

    def stream(self, request: Request, body: Body, measure: Measure, timeout: float, *, wait: bool) -> RoutedStream:
        """An async iterator of chunks that settles when it ends, is closed, or is forgotten."""
        from apikeyrouter.streaming import RoutedStream  # streaming builds on Errand

        return RoutedStream(Errand(self, request, body, measure, timeout, wait=wait))
