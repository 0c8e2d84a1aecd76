"""Asks providers how they are doing, so that a customer's request need not be the one that finds out.

A task for each provider with a `probe`, in the event loop that routes: one key after the other, evenly spread, with
jitter, sparing keys that traffic has just tried and pools whose provider named a time. What the probe's operation
charges is held and settled like any request. A probe lets traffic return only where probes had seen the provider down,
so that a cheap list of models does not call a busy model well. Disabled and invalid keys are never asked: only
enable_key and rotate_key bring those back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from apikeyrouter.core.breaker import Breaking
from apikeyrouter.core.failure import Blame, Failure, Kind
from apikeyrouter.core.health import Health, Probe
from apikeyrouter.core.key import Key, State, Trigger
from apikeyrouter.core.ledger import Lease
from apikeyrouter.core.model import Request
from apikeyrouter.core.roster import Deployment, release
from apikeyrouter.errors import RoutingError
from apikeyrouter.events import Probed
from apikeyrouter.locks import new_lock
from apikeyrouter.ports import Adapter, Probing, SecretSource
from apikeyrouter.router import Router


class Prober:
    """Watches the providers in `probes`, which may change while it does. `asking` counts probes under way."""

    def __init__(self, router: Router, adapters: Mapping[str, Adapter], probes: Mapping[str, Probe]) -> None:
        self.router = router
        self._adapters = adapters
        self._probes = probes
        self._lock = new_lock()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turns: dict[str, int] = {}
        self._closed = False
        self.asking = 0

    # -- tasks ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Watch every provider in the running loop that no running loop watches yet; without a loop nothing happens."""
        loop = asyncio._get_running_loop()
        if loop is None or self._closed:
            return
        with self._lock:
            for name in self._probes:
                task = self._tasks.get(name)
                if task is None or task.done() or not task.get_loop().is_running():
                    self._tasks[name] = loop.create_task(self._watch(name))

    async def aclose(self) -> None:
        """Stop for good, also in other loops."""
        self._closed = True
        with self._lock:
            tasks, self._tasks = list(self._tasks.values()), {}
        here = asyncio.get_running_loop()
        for task in tasks:
            if task.get_loop() is here:
                task.cancel()
            elif task.get_loop().is_running():
                task.get_loop().call_soon_threadsafe(task.cancel)
        await asyncio.gather(*(task for task in tasks if task.get_loop() is here), return_exceptions=True)

    async def _watch(self, name: str) -> None:
        """Ask again and again, from a random moment on: many routers shall not ask at once."""
        late = self.router.chance()
        while self._tasks.get(name) is asyncio.current_task() and (probe := self._probes.get(name)) is not None:
            keys = [key for key in list(self.router.registry.keys.values()) if key.provider == name and key.usable]
            await self.router.clock.sleep(probe.gap(len(keys), self.router.chance()) * late)
            late = 1.0
            if self._probes.get(name) is not probe:
                continue  # it was changed or withdrawn meanwhile
            self.router.refresh()
            key = self._next(name, probe)
            if key is not None:
                self.asking += 1
                try:
                    await self._ask(name, key, probe)
                finally:
                    self.asking -= 1

    def _next(self, name: str, probe: Probe) -> Key | None:
        """The next key in turn that may be asked."""
        with self.router.lock:
            keys = [key for key in self.router.registry.keys.values() if key.provider == name]
            turn = self._turns.get(name, 0)
            for at in range(turn, turn + len(keys)):
                key = keys[at % len(keys)]
                if self._may(key, name, probe):
                    self._turns[name] = at % len(keys) + 1
                    return key
        return None

    def _may(self, key: Key, name: str, probe: Probe) -> bool:
        router = self.router
        now = router.now()
        if not key.usable or key.id not in router.secrets:
            return False
        stopped = [pool for pool in router.registry.pools_of(key) if now < pool.until]
        if stopped:
            return bool(self._charged(name)) and not any(pool.dated for pool in stopped)
        tried = key.last_used_at is not None and now - key.last_used_at < probe.every_s / 2
        return not tried or any(d.breaker.state is not Breaking.CLOSED for d in self._deployments(name))

    def _charged(self, name: str) -> str:
        """The operation a probe of this provider is charged as, "" for none."""
        adapter = self._adapters[name]
        return adapter.probe_operation if isinstance(adapter, Probing) else ""

    def _deployments(self, name: str) -> list[Deployment]:
        return [d for (provider, _), d in self.router.registry.deployments.items() if provider == name]

    # -- one probe ------------------------------------------------------------------------------------------------

    async def _ask(self, name: str, key: Key, probe: Probe) -> None:
        operation, version = self._charged(name), key.version
        secret = self.router.secrets.get(key.id)
        if secret is None:
            return
        lease: Lease | None = None
        if operation and self._is_open(name, key, operation):
            lease = self._hold(name, key, operation, probe)
            if lease is None:
                return  # no room for it: a probe takes nothing from anybody
        try:
            failure = await _answer(self._adapters[name], secret, probe.timeout_s)
        except BaseException:
            if lease is not None:
                self.router.fail(lease, Failure(kind=Kind.CANCELLED, billed=True))
            raise
        self._learn(name, key, probe, failure, charged=operation, version=version)
        if operation and lease is None and failure is None:
            lease = self._hold(name, key, operation, probe)  # it was let through by nobody, and is counted now
        if lease is not None:
            self._end(lease, failure)
        kind = "" if failure is None else str(failure.kind)
        self.router.announce.tell(
            Probed(at=self.router.now(), provider_id=name, key_id=key.id, ok=failure is None, kind=kind)
        )
        self.router.refresh()

    def _is_open(self, name: str, key: Key, operation: str) -> bool:
        """Whether traffic of the probe's own operation could go there now."""
        router = self.router
        with router.lock:
            now = router.now()
            deployment = router.registry.deployment(name, operation, now)
            stopped = any(now < pool.until for pool in router.registry.pools_of(key))
            return not stopped and deployment.breaker.state is not Breaking.OPEN

    def _hold(self, name: str, key: Key, operation: str, probe: Probe) -> Lease | None:
        """Quota and money for a probe that is charged, or None where there is no room."""
        request = Request(
            model=operation,
            provider=name,
            operation=operation,
            tenant=key.tenant,
            tags={"probe": name},
            among=frozenset({(key.id, operation)}),
        )
        try:
            return self.router.acquire(request, timeout_s=probe.timeout_s, quiet=True)
        except RoutingError:
            return None

    def _end(self, lease: Lease, failure: Failure | None) -> None:
        if failure is None:
            self.router.settle(lease)
        else:
            self.router.fail(lease, failure)

    # -- what it tells --------------------------------------------------------------------------------------------

    def _learn(self, name: str, key: Key, probe: Probe, failure: Failure | None, *, charged: str, version: int) -> None:
        with self.router.lock:
            provider = self.router.registry.providers.get(name)
            if provider is None:
                return
            if failure is None:
                self._well(name, key, provider.health, charged=charged)
            else:
                self._unwell(name, key, provider.health, probe, failure)
                self._judge(key, provider.health, probe, failure, version=version)

    def _well(self, name: str, key: Key, health: Health, *, charged: str) -> None:
        now = self.router.now()
        if health.good(key.id, now):
            for deployment in self._deployments(name):
                if deployment.breaker.found_back():
                    self.router.breaker_moved(deployment, now)
        for pool in self.router.registry.pools_of(key) if charged else ():
            if now < pool.until and not pool.dated:
                self.router.note(pool.reopen(now))
                release(pool)

    def _unwell(self, name: str, key: Key, health: Health, probe: Probe, failure: Failure) -> None:
        now = self.router.now()
        at_fault = failure.blame is Blame.PROVIDER
        health.bad(f"{failure.kind} for key {key.id}", now, provider=at_fault)
        if not at_fault:
            return
        looks_again = now + probe.every_s * (1.0 + probe.jitter) + probe.timeout_s
        for deployment in self._deployments(name):
            breaker = deployment.breaker
            breaker.still_down(looks_again)
            nobody_there = not failure.sent and breaker.state is Breaking.CLOSED
            if nobody_there and breaker.record(ok=False, now=now, chance=self.router.chance(), connect=True):
                self.router.breaker_moved(deployment, now)

    def _judge(self, key: Key, health: Health, probe: Probe, failure: Failure, *, version: int) -> None:
        """A key is refused for a reason of its own only where its provider has just taken another."""
        now, last = self.router.now(), health.last_ok
        if failure.kind is not Kind.UNAUTHENTICATED or health.ok_key in ("", key.id) or last is None or key.removed:
            return
        if now - last <= 2.0 * probe.every_s and key.version == version and key.state is State.AVAILABLE:
            context = f"{failure.status or ''} {failure.code or failure.kind} (probe)".strip()
            self.router.note([key.apply(Trigger.AUTHENTICATION_FAILED, now, context=context)])
            self.router.registry.changed()


async def _answer(adapter: Adapter, secret: SecretSource, timeout: float) -> Failure | None:
    """How a probe failed; an adapter that only says yes or no blames its provider."""
    try:
        async with asyncio.timeout(timeout):
            if isinstance(adapter, Probing):
                return await adapter.probe(secret, timeout)
            said = await adapter.health(secret)
    except TimeoutError:
        return Failure(kind=Kind.TIMEOUT, message="the health check took too long", billed=True)
    except Exception as error:  # noqa: BLE001  (a custom adapter's check may raise anything, and must be asked again)
        return Failure(kind=Kind.SERVER_ERROR, message=f"the health check raised {type(error).__name__}")
    return None if said else Failure(kind=Kind.SERVER_ERROR, message="the health check failed")
