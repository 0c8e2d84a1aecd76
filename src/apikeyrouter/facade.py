"""`ApiKeyRouter`: the composition root and the public verbs, thin over router.py and dispatch.py.

Everything is in memory and needs nothing else. Registration is asynchronous because stores may be; in memory it never
waits. Verbs without I/O (acquire, settle, fail, release, explain, preview) are plain calls, legal anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Unpack

from apikeyrouter.checks import kind_of, named
from apikeyrouter.core.budget import Budget, BudgetStatus, BudgetTree
from apikeyrouter.core.decision import Decision
from apikeyrouter.core.failure import Failure
from apikeyrouter.core.forecast import Forecast
from apikeyrouter.core.health import Probe
from apikeyrouter.core.key import Key, State, Trigger
from apikeyrouter.core.ledger import Lease
from apikeyrouter.core.model import NO_TAGS, Request, Usage
from apikeyrouter.core.policy import Policy
from apikeyrouter.core.price import PriceBook
from apikeyrouter.core.quote import Reconciled
from apikeyrouter.core.rehearsal import Impact
from apikeyrouter.core.score import Objective, objectives
from apikeyrouter.core.scrub import scrub
from apikeyrouter.core.spending import CostRow
from apikeyrouter.core.tokens import Measure
from apikeyrouter.credentials import Secret
from apikeyrouter.enrolment import Enrolment, KeyOptions
from apikeyrouter.errors import (
    DecisionNotFoundError,
    InvalidConfigurationError,
    InvalidRequestError,
    MissingConfigurationError,
)
from apikeyrouter.events import Event
from apikeyrouter.intake import RouteOptions, checked, classified, own, sane, timeout_of, told, understand
from apikeyrouter.policing import Policing
from apikeyrouter.ports import Adapter, Body, Clock, Headers
from apikeyrouter.router import Router
from apikeyrouter.settings import Settings
from apikeyrouter.summary import PoolStatus, ProviderHealth, StateSummary, health_of, quota_of, summarize

if TYPE_CHECKING:
    from apikeyrouter.dispatch import Dispatcher, Reply
    from apikeyrouter.reload import Filled
    from apikeyrouter.streaming import RoutedStream
    from apikeyrouter.sync import SyncFace

Metadata = Mapping[str, object]


class ApiKeyRouter:
    """Routes requests over every key you own.

    All arguments are optional. `budgets` and `objective` as in the documentation; `settings` for timeouts and retries;
    `prices` a PriceBook, by default the shipped and installed price lists, read when first needed.
    """

    def __init__(
        self,
        *,
        budgets: Sequence[Budget] = (),
        policies: Sequence[Policy] = (),
        objective: object = None,
        state: str = "memory",
        settings: Settings | None = None,
        prices: PriceBook | None = None,
        clock: Clock | None = None,
        rng: Random | None = None,
        log: bool = True,
    ) -> None:
        if state != "memory":
            raise InvalidConfigurationError(f"state '{state}' is not available; this version keeps state in 'memory'.")
        self._router = Router(
            prices=_default_prices() if prices is None else prices,
            budgets=BudgetTree(budgets),
            objective=Objective.of(objective),
            settings=settings or Settings(),
            clock=clock,
            rng=rng,
        )
        self._dispatcher: Dispatcher | None = None
        self._adapters: dict[str, Adapter] = {}
        self._enrolment = Enrolment(self._router, self._adapters)
        self._sync: SyncFace | None = None
        self.filled: Filled | None = None
        self._policing = Policing(self._router)
        if policies:
            self._policing.replace(policies)
        if log:
            from apikeyrouter.observe.log import attach  # structlog is loaded with the first router, not at import

            attach(self._router.announce)

    @classmethod
    def from_config(cls, source: str | Path | Mapping[str, object], **overrides: object) -> ApiKeyRouter:
        """A router from a YAML, TOML or JSON file, or from its parsed content.

        Raises InvalidConfigurationError with every problem found (file, line, path, and what mends it).
        """
        from apikeyrouter.assembly import from_config  # reading files is not on the path of `import apikeyrouter`

        return from_config(cls, source, **overrides)

    # -- registration ---------------------------------------------------------------------------------------------

    async def register_provider(
        self,
        name: str,
        adapter: Adapter | str,
        *,
        price_name: str | None = None,
        metadata: Metadata | None = None,
        probe: Probe | None = None,
    ) -> None:
        """Make a provider known under `name`. `adapter` is an adapter object, or "openai", "anthropic", "gemini"."""
        self._enrolment.add_provider(name, adapter, price_name=price_name, metadata=metadata, probe=probe)

    async def register_key(self, secret: str | Secret, provider: str, **options: Unpack[KeyOptions]) -> Key:
        """Make a key known. With `pool`, `limits` are the pool's; without, the key has a pool of its own.

        `caps` are limits of this key inside its pools. Raises KeyAlreadyExistsError for a known id or material,
        ProviderNotFoundError, MissingConfigurationError without a secret, InvalidConfigurationError for the rest.
        """
        if not isinstance(secret, str | Secret):
            raise MissingConfigurationError(
                f"The secret of the key is {kind_of(secret)}; give its text (is the variable that holds it set?)."
            )
        return self._enrolment.add_key(secret, provider, options)

    async def rotate_key(self, name: str, secret: str | Secret) -> Key:
        """Replace the material. Id, pools, quota and history stay; open leases finish on the old material."""
        return self._enrolment.rotate(name, secret)

    async def revoke_key(self, name: str) -> None:
        """Take a key out. New requests avoid it at once; open leases finish."""
        self._enrolment.revoke(name)

    async def disable_key(self, name: str, *, reason: str = "") -> Key:
        return self._enrolment.move(name, Trigger.DISABLED_BY_HAND, reason)

    async def enable_key(self, name: str, *, reason: str = "") -> Key:
        return self._enrolment.move(name, Trigger.ENABLED_BY_HAND, reason)

    @property
    def adapters(self) -> Mapping[str, Adapter]:
        """Adapters by provider."""
        return self._adapters

    @property
    def settings(self) -> Settings:
        return self._router.settings

    @property
    def dispatcher(self) -> Dispatcher:
        """Attempts and waiting, for doors that send by themselves."""
        return self._dispatch()

    @property
    def enrolment(self) -> Enrolment:
        """Registration without a loop, for code that assembles a router."""
        return self._enrolment

    def get_key(self, name: str) -> Key:
        return self._router.registry.key(name)

    def list_keys(
        self, *, provider: str | None = None, state: State | str | None = None, tags: Mapping[str, str] = NO_TAGS
    ) -> list[Key]:
        """Keys that match all of the given conditions; `state` is the shown one."""
        self._router.refresh()
        registry = self._router.registry
        with self._router.lock:
            return [
                key
                for key in registry.keys.values()
                if (provider is None or key.provider == provider)
                and (state is None or registry.state_of(key) == state)
                and all(key.tags.get(name) == value for name, value in tags.items())
            ]

    # -- requests -------------------------------------------------------------------------------------------------

    async def route(self, body: Body, **options: Unpack[RouteOptions]) -> Reply:
        """Send a request by the best key, failing over as needed; waits for room up to its timeout.

        A `request_id` given again within an hour gets the first answer. Raises InvalidRequestError for a body nobody
        can take, the errors of acquire() when nothing could be sent, and the last attempt's ProviderError otherwise.
        """
        request, weight = understand(body, options, self._adapters)
        timeout = timeout_of(options.get("timeout"), self._router.settings.timeout_s)
        return await self._dispatch().route(request, body, weight, timeout, wait=options.get("wait", True))

    def stream(self, body: Body, **options: Unpack[RouteOptions]) -> RoutedStream:
        """Like route(), chunk by chunk: `async for chunk in router.stream({...})`. Settles however it ends."""
        request, weight = understand(body, options, self._adapters, streaming=True)
        timeout = timeout_of(options.get("timeout"), self._router.settings.timeout_s)
        return self._dispatch().stream(request, body, weight, timeout, wait=options.get("wait", True))

    def acquire(self, request: Request, *, timeout: float | None = None, measure: Measure | None = None) -> Lease:
        """A key for `request` with its quota and money held, now, without I/O. Settle or fail the lease afterwards.

        With `measure` (of a body) the tokens are estimated, and the estimate learns from the usage it is settled with.
        Raises NoEligibleKeysError, QuotaExhaustedError (retry_after says when), BudgetExceededError.
        """
        wait = timeout_of(timeout, self._router.settings.timeout_s)
        return self._router.acquire(checked(request), timeout_s=wait, measure=measure)

    async def acquire_when_free(
        self, request: Request, *, timeout: float | None = None, measure: Measure | None = None
    ) -> Lease:
        """Like acquire(), waiting for room for at most `timeout` seconds; refuses at once when that cannot suffice."""
        deadline = self._router.now() + timeout_of(timeout, self._router.settings.timeout_s)
        return await self._dispatch().rooms.here().acquire(checked(request), measure, None, deadline)

    def settle(
        self,
        lease: Lease,
        usage: Usage | None = None,
        *,
        headers: Headers | None = None,
        latency_s: float | None = None,
        first_byte_s: float | None = None,
    ) -> None:
        """The request succeeded. Settling twice is settling once; `usage` None commits the estimate."""
        used = sane(usage)
        readings, identity = told(self._adapters.get(own(lease, self._router.prefix).provider), headers)
        self._router.settle(
            lease, used, readings=readings, identity=identity, latency_s=latency_s, first_byte_s=first_byte_s
        )

    def fail(
        self,
        lease: Lease,
        failure: Failure | int,
        headers: Headers | None = None,
        body: object = None,
        *,
        usage: Usage | None = None,
    ) -> Failure:
        """The request failed: a Failure, or the HTTP status with headers and body, which is classified and returned.

        `usage` is what a stream had used when it broke, if that is known. Raises InvalidRequestError for what is
        neither, and for a lease of another router.
        """
        used = sane(usage)
        adapter = self._adapters.get(own(lease, self._router.prefix).provider)
        found = classified(adapter, failure, headers, body)
        readings, identity = told(adapter, headers)
        self._router.fail(lease, found, readings=readings, identity=identity, usage=used)
        return found

    def release(self, lease: Lease) -> None:
        """Nothing was sent: quota and money return."""
        self._router.release(own(lease, self._router.prefix))

    def abandon(self, lease_id: str, *, sent: bool = True) -> None:
        """The caller is gone: for finalizers and signals. What was sent commits its estimate, else it returns."""
        self._router.abandon(lease_id, sent=sent)

    def preview(self, request: Request) -> Decision:
        """What acquire() would decide now, without holding anything."""
        return self._router.preview(checked(request))

    def explain(self, decision_id: str) -> Decision:
        """The decision of that id, among the last `explain_keep`; str() of it is the explanation."""
        name = named(decision_id, "A decision's id", DecisionNotFoundError)
        found = self._router.decisions.get(name)
        if found is None:
            kept = self._router.settings.explain_keep
            raise DecisionNotFoundError(f"Decision '{scrub(name)}' is not among the last {kept:,} kept.")
        return found

    async def configure_policy(self, policy: Policy, *, dry_run: bool = False) -> Impact:
        """Put a policy in force (or another version in place of one of its id), at once and for all later requests.

        What it changes is told against the decisions in memory; `dry_run` only tells. Raises InvalidConfigurationError
        with every problem, with line and column inside an expression.
        """
        return self._policing.configure(policy, dry_run=dry_run)

    @property
    def policing(self) -> Policing:
        """The policies in force, for code that assembles a router."""
        return self._policing

    # -- state ----------------------------------------------------------------------------------------------------

    def get_state_summary(self) -> StateSummary:
        """Keys, pools, budgets and open leases as they are now."""
        self._router.refresh()
        return summarize(self._router)

    def health(self) -> tuple[ProviderHealth, ...]:
        """How each provider is doing, by traffic and by probes."""
        self._router.refresh()
        return health_of(self._router)

    def quota(self, name: str) -> tuple[PoolStatus, ...]:
        """What a key's pools, or the pool of that name, have left: estimates with their doubt, states, forecasts."""
        self._router.refresh()
        return quota_of(self._router, name)

    def forecast(self, name: str) -> tuple[Forecast, ...]:
        """When the windows of a key or pool are expected to run out; the most urgent first."""
        found = [w.forecast for pool in self.quota(name) for w in pool.windows if w.forecast is not None]
        return tuple(sorted(found, key=lambda x: (x.p50 is None, x.p50 or 0.0, -x.probability)))

    def reset_quota(self, pool: str, window: str | None = None) -> None:
        """Believe a pool (or one of its windows, as "tokens/minute") to be full and open: you know better."""
        self._enrolment.reset_quota(pool, window)

    def budget_status(self, scope: str | None = None) -> tuple[BudgetStatus, ...]:
        with self._router.lock:
            return self._router.budgets.status(scope, self._router.now())

    def costs(self, group_by: str | None = None) -> tuple[CostRow, ...]:
        """What was spent since the start, the dearest first, by "key", "provider", "model", "route", "tenant" or
        "tag:NAME"; without `group_by` in one row. Raises InvalidRequestError for another grouping."""
        self._router.refresh()
        with self._router.lock:
            return self._router.spending.report(group_by)

    def reconciliation(self) -> tuple[Reconciled, ...]:
        """How bills compared with what was held for them, by model."""
        with self._router.lock:
            return self._router.spending.reconciliation.report()

    def feedback(self, decision_id: str, *, success: bool | None = None, quality: float | None = None) -> None:
        """What you learned of an answer afterwards: `success` moves the model's reliability, `quality` (0 to 1) its
        quality. Raises DecisionNotFoundError, and InvalidRequestError for a quality that is none."""
        if quality is not None and not 0.0 <= quality <= 1.0:
            raise InvalidRequestError(f"quality is {quality}; give a number from 0 to 1.")
        chosen = self.explain(decision_id).chosen
        if chosen is None:
            return
        with self._router.lock:
            if success is not None:
                chosen.deployment.reliability.record(success, self._router.now())
            if quality is not None:
                chosen.deployment.opinion.record(quality)

    def objectives(self) -> tuple[str, ...]:
        """The names that `objective=` takes, registered ones included."""
        return objectives()

    def subscribe(self, kind: type[Event], callback: Callable[[Event], None]) -> None:
        """Call `callback` for each event of exactly that type; what it raises never breaks a request."""
        self._router.announce.subscribe(kind, callback)

    @property
    def sync(self) -> SyncFace:
        """route() and stream() for callers without an event loop."""
        if self._sync is None:
            from apikeyrouter.sync import SyncFace  # threads only for those who ask

            self._sync = SyncFace(self)
        return self._sync

    async def aclose(self) -> None:
        """Close connections; open leases expire by their deadline."""
        await self.aclose_adapters()
        if self._sync is not None:
            self._sync.stop()

    async def aclose_adapters(self) -> None:
        await self._enrolment.aclose()

    async def __aenter__(self) -> ApiKeyRouter:
        self._enrolment.watch()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _dispatch(self) -> Dispatcher:
        self._enrolment.watch()
        if self._dispatcher is None:
            from apikeyrouter.dispatch import Dispatcher  # asyncio only for those who send

            self._dispatcher = Dispatcher(self._router)
            self._dispatcher.adapters = self._adapters
        return self._dispatcher

    def __repr__(self) -> str:
        return f"<ApiKeyRouter {summarize(self._router).line}>"


def _default_prices() -> PriceBook:
    from apikeyrouter import prices  # price lists are files

    return prices.load()
