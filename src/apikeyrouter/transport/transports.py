"""The two transports: for clients with and without an event loop, of httpx or httpx2."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.ledger import Lease
from apikeyrouter.errors import ProviderError, RoutingError
from apikeyrouter.transport.errand import LONGEST_BODY, Journey, headers_of
from apikeyrouter.transport.wire import AsyncInner, HttpRequest, HttpResponse, Library, SyncInner, library_of

if TYPE_CHECKING:
    from apikeyrouter.facade import ApiKeyRouter

T = TypeVar("T")


class _Tee:
    """Bytes kept on their way to the caller, and the settlement when they end: exactly once, however they end."""

    def __init__(self, journey: Journey, lease: Lease, response: HttpResponse) -> None:
        self.journey, self.lease, self.response = journey, lease, response
        self.kept: list[bytes] = []
        self.size = 0
        self.ended = False

    def keep(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.size <= LONGEST_BODY:
            self.kept.append(chunk)

    def end(self, *, whole: bool) -> None:
        if self.ended:
            return
        self.ended = True
        readable = self.size <= LONGEST_BODY and (whole or self.kept)
        self.journey.settle(self.lease, self.response, b"".join(self.kept) if readable else None)

    def broke(self) -> None:
        if not self.ended:
            self.ended = True
            self.journey.errand.router.fail(self.lease, Failure(kind=Kind.NETWORK, billed=True))


def _sync_stream(library: Library, tee: _Tee, inner: _Original) -> object:
    class Settling(library.SyncByteStream):  # type: ignore[name-defined, misc]  # a class of the caller's library
        def __iter__(self) -> Iterator[bytes]:
            try:
                for chunk in inner.stream:
                    tee.keep(chunk)
                    yield chunk
            except library.TransportError:
                tee.broke()
                raise
            tee.end(whole=True)

        def close(self) -> None:
            tee.end(whole=False)
            inner.close()

        def __del__(self) -> None:
            if not tee.ended:
                tee.journey.errand.router.abandon(tee.lease.id)

    return Settling()


def _async_stream(library: Library, tee: _Tee, inner: _Original) -> object:
    class Settling(library.AsyncByteStream):  # type: ignore[name-defined, misc]  # a class of the caller's library
        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for chunk in inner.stream:
                    tee.keep(chunk)
                    yield chunk
            except library.TransportError:
                tee.broke()
                raise
            tee.end(whole=True)

        async def aclose(self) -> None:
            tee.end(whole=False)
            await inner.aclose()

        def __del__(self) -> None:
            if not tee.ended:
                tee.journey.errand.router.abandon(tee.lease.id)

    return Settling()


class AsyncRouterTransport:
    """`httpx.AsyncClient(transport=AsyncRouterTransport(router))`.

    `provider` names the registered provider; by default the request's host decides. `inner` sends; by default the
    library's own transport. The SDK's retries may stay on: what is retried here never reaches them.
    """

    def __init__(self, router: ApiKeyRouter, provider: str | None = None, inner: AsyncInner | None = None) -> None:
        self._router = router
        self._provider = provider
        self._inner = inner

    async def handle_async_request(self, request: HttpRequest) -> HttpResponse:
        """Send by the best key, on another one while that may help."""
        await request.aread()
        library = library_of(request)
        if self._inner is None:
            self._inner = library.AsyncHTTPTransport()
        journey = Journey(self._router, self._provider, request, library)
        try:
            return await self._journey(journey, self._inner)
        except (ProviderError, RoutingError) as error:
            response = journey.outcome(error)
            if response is None:
                raise (error.__cause__ or error) from None
            return response

    async def _journey(self, journey: Journey, inner: AsyncInner) -> HttpResponse:
        while True:
            lease = await journey.errand.lease()
            try:
                response = await inner.handle_async_request(journey.prepared(lease))
            except journey.library.TransportError as error:
                journey.last = None
                await _with_cause(journey.errand.failed(lease, journey.network_failure(error), {}), error)
                continue
            except BaseException:
                journey.errand.router.fail(lease, Failure(kind=Kind.CANCELLED, billed=True))
                raise
            if response.status_code < 400:
                tee = _Tee(journey, lease, response)
                response.stream = _async_stream(journey.library, tee, _Original(response))  # type: ignore[assignment]  # the library's own kind of stream
                return journey.marked(response, lease)
            await response.aread()
            journey.last = journey.marked(response, lease)
            await journey.errand.failed(lease, journey.failure_of(response), headers_of(response))

    async def aclose(self) -> None:
        if self._inner is not None:
            await self._inner.aclose()

    async def __aenter__(self) -> AsyncRouterTransport:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class RouterTransport:
    """`httpx.Client(transport=RouterTransport(router))`; see AsyncRouterTransport. Waits on the router's own thread."""

    def __init__(self, router: ApiKeyRouter, provider: str | None = None, inner: SyncInner | None = None) -> None:
        self._router = router
        self._provider = provider
        self._inner = inner

    def handle_request(self, request: HttpRequest) -> HttpResponse:
        """Send by the best key, on another one while that may help."""
        request.read()
        library = library_of(request)
        if self._inner is None:
            self._inner = library.HTTPTransport()
        journey = Journey(self._router, self._provider, request, library)
        try:
            return self._journey(journey, self._inner)
        except (ProviderError, RoutingError) as error:
            response = journey.outcome(error)
            if response is None:
                raise (error.__cause__ or error) from None
            return response

    def _journey(self, journey: Journey, inner: SyncInner) -> HttpResponse:
        while True:
            lease = self._run(journey.errand.lease())
            try:
                response = inner.handle_request(journey.prepared(lease))
            except journey.library.TransportError as error:
                journey.last = None
                self._run(_with_cause(journey.errand.failed(lease, journey.network_failure(error), {}), error))
                continue
            except BaseException:
                journey.errand.router.fail(lease, Failure(kind=Kind.CANCELLED, billed=True))
                raise
            if response.status_code < 400:
                tee = _Tee(journey, lease, response)
                response.stream = _sync_stream(journey.library, tee, _Original(response))  # type: ignore[assignment]  # the library's own kind of stream
                return journey.marked(response, lease)
            response.read()
            journey.last = journey.marked(response, lease)
            self._run(journey.errand.failed(lease, journey.failure_of(response), headers_of(response)))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._router.sync.wait_for(work)

    def close(self) -> None:
        if self._inner is not None:
            self._inner.close()

    def __enter__(self) -> RouterTransport:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Original:
    """A response's own stream and closing, kept while the response is given another stream."""

    def __init__(self, response: HttpResponse) -> None:
        self.stream = response.stream

    def close(self) -> None:
        self.stream.close()  # type: ignore[attr-defined]  # every byte stream of both libraries closes

    async def aclose(self) -> None:
        await self.stream.aclose()  # type: ignore[attr-defined]


async def _with_cause(failed: Coroutine[Any, Any, None], cause: Exception) -> None:
    """Let the library's own exception be what the SDK sees when no attempt is left."""
    try:
        await failed
    except ProviderError as error:
        raise error from cause
