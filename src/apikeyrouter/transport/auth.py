"""The same as an `httpx.Auth`, for clients whose transport is taken already.

An auth flow sees a response's head, not its body, so usage is not read: requests are settled at their estimate, and
by the quota headers. Prefer the transport where both are possible.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from importlib import import_module
from typing import TYPE_CHECKING

from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.errors import ProviderError
from apikeyrouter.transport.errand import Journey, headers_of
from apikeyrouter.transport.wire import HttpRequest, HttpResponse, library_of

if TYPE_CHECKING:
    from apikeyrouter.facade import ApiKeyRouter


def RouterAuth(  # noqa: N802  (reads as the class it makes, which must derive from the caller's library)
    router: ApiKeyRouter, provider: str | None = None, *, library: str = "httpx"
) -> object:
    """`httpx.Client(auth=RouterAuth(router))`; `library` "httpx2" for that one. RoutingErrors reach the caller."""
    base: type = import_module(library).Auth
    made: object = type("RouterAuth", (_Flow, base), {})(router, provider)
    return made


class _Flow:
    requires_request_body = True
    requires_response_body = False

    def __init__(self, router: ApiKeyRouter, provider: str | None = None) -> None:
        self._router = router
        self._provider = provider

    def sync_auth_flow(self, request: HttpRequest) -> Generator[HttpRequest, HttpResponse, None]:
        request.read()
        journey = Journey(self._router, self._provider, request, library_of(request))
        run = self._router.sync.wait_for
        while True:
            lease = run(journey.errand.lease())
            try:
                response = yield journey.prepared(lease)
            except BaseException:
                journey.errand.router.fail(lease, Failure(kind=Kind.CANCELLED, billed=True))
                raise
            if response.status_code < 400:
                journey.settle(lease, response, None)
                return
            response.read()
            try:
                run(journey.errand.failed(lease, journey.failure_of(response), headers_of(response)))
            except ProviderError:
                return

    async def async_auth_flow(self, request: HttpRequest) -> AsyncGenerator[HttpRequest, HttpResponse]:
        await request.aread()
        journey = Journey(self._router, self._provider, request, library_of(request))
        while True:
            lease = await journey.errand.lease()
            try:
                response = yield journey.prepared(lease)
            except BaseException:
                journey.errand.router.fail(lease, Failure(kind=Kind.CANCELLED, billed=True))
                raise
            if response.status_code < 400:
                journey.settle(lease, response, None)
                return
            await response.aread()
            try:
                await journey.errand.failed(lease, journey.failure_of(response), headers_of(response))
            except ProviderError:
                return
