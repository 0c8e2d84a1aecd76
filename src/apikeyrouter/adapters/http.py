"""The only place that touches the network for adapters: pooled connections, timeouts, bounded answers, plain failures.

It speaks to httpx's transports, not to its client: no cookies, redirects or header merging that a provider's API never
needs, and about a quarter less processor time per request. Cassettes (vcrpy) record at this level too. What goes wrong
below becomes a `Failure` with a sentence of our own, because a library's sentence may quote a header, hence a key.
"""

from __future__ import annotations

import asyncio
import ssl
import time
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import cache
from math import inf
from typing import Final, TypedDict
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from apikeyrouter.adapters.address import checked_base_url, is_loopback
from apikeyrouter.adapters.alarm import Alarm
from apikeyrouter.adapters.loops import PerLoop
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.ports import Headers

CONNECT_S: Final = 10.0
READ_S: Final = 60.0
"""Silence within a stream that has begun. Before that nothing is odd about it: a model that thinks says nothing."""
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
_LIMITS: Final = httpx.Limits(max_connections=1000, max_keepalive_connections=200, keepalive_expiry=30.0)
_DRAIN_S: Final = 0.05
_URLS_KEPT: Final = 512

RawHeaders = list[tuple[bytes, bytes]]
Transport = httpx.AsyncBaseTransport


class WireOptions(TypedDict, total=False):
    """What every adapter's constructor passes on: see Wire. `transport` replaces the network."""

    allow_http: bool
    connect_s: float
    read_s: float
    max_answer_bytes: int
    transport: Transport | None


@dataclass(slots=True, kw_only=True)
class Outgoing:
    """One HTTP request. Headers carry the key, a URL may: neither is shown. `keep_url`: the address comes again."""

    method: str
    url: str = field(repr=False)
    headers: RawHeaders = field(repr=False)
    content: bytes = field(default=b"", repr=False)
    keep_url: bool = True


@dataclass(slots=True, kw_only=True)
class Incoming:
    """What came back, whole. Where `failure` is set, no answer came and the rest is empty."""

    status: int | None = None
    headers: Headers = field(default_factory=dict)
    content: bytes = b""
    failure: Failure | None = None
    first_byte_s: float | None = None


class WireError(Exception):
    """The connection failed; `failure` says how. It never leaves the adapters."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Opened:
    """An answer whose body is still coming, decoded as it is read."""

    __slots__ = (
        "_alarm",
        "_body",
        "_deadline",
        "_goes_on",
        "_inflate",
        "_left",
        "_response",
        "_silence_s",
        "first_byte_s",
        "headers",
        "status",
    )

    def __init__(
        self,
        response: httpx.Response,
        *,
        alarm: Alarm,
        goes_on: tuple[float, float],
        first_byte_s: float,
        limit: int,
    ) -> None:
        self.status = response.status_code
        self.headers = _plain_headers(response)
        self.first_byte_s = first_byte_s
        self._response = response
        self._body: AsyncIterator[bytes] = _body_of(response)
        self._alarm = alarm
        self._deadline = alarm.at
        self._goes_on: tuple[float, float] | None = goes_on
        self._silence_s = inf
        self._left = limit
        self._inflate = _inflater(self.headers.get("content-encoding", ""))

    def begun(self) -> None:
        """The content of a stream has begun: it may take longer now, but not be silent for long. Idempotent."""
        if self._goes_on is not None:
            seconds, self._silence_s = self._goes_on
            self._deadline = asyncio.get_running_loop().time() + seconds
            self._goes_on = None

    async def read(self) -> bytes:
        """The next decoded bytes, b"" at the end. Raises WireError."""
        self._alarm.set(min(self._deadline, asyncio.get_running_loop().time() + self._silence_s))
        try:
            with self._alarm:
                while True:
                    raw = await self._body.__anext__()
                    data = raw if self._inflate is None else self._inflate.decompress(raw, max(1, self._left + 1))
                    if data:
                        return self._counted(data)
        except StopAsyncIteration:
            return self._rest()
        except TimeoutError:
            raise WireError(_late()) from None
        except httpx.TransportError as error:
            raise WireError(_failure(error, sent=True)) from None
        except zlib.error:
            raise WireError(_malformed("the answer's compression is broken")) from None

    def _rest(self) -> bytes:
        """What the decompression still holds at the end. Raises WireError."""
        if self._inflate is None or self._inflate.eof:
            return b""
        try:
            return self._counted(self._inflate.flush())
        except zlib.error:
            raise WireError(_malformed("the answer's compression is broken")) from None

    def _counted(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise WireError(_malformed("the answer is longer than the configured bound"))
        return data

    async def read_all(self) -> bytes:
        """Everything up to the end. Raises WireError."""
        parts: list[bytes] = []
        while data := await self.read():
            parts.append(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def drain(self) -> None:
        """Take the last bytes of a finished stream, briefly, so that its connection can serve the next request."""
        self._deadline = min(self._deadline, asyncio.get_running_loop().time() + _DRAIN_S)
        try:
            while await self.read():
                pass
        except WireError:
            return

    async def aclose(self) -> None:
        """Give the connection back; idempotent."""
        self._alarm.off()
        try:
            await self._response.aclose()
        except httpx.TransportError:
            return


class Wire:
    """Connections to one provider, one pool for each event loop.

    `timeout` of a request is its total in seconds (of a stream, until its content begins); connecting has a bound of
    its own a hair below it, so that a connect that never ends is told from a request that left. A stream that has begun
    may be silent for `read_s`. `transport` replaces the network (tests, recorded traffic).
    """

    def __init__(
        self,
        base_url: str,
        *,
        allow_http: bool = False,
        connect_s: float = CONNECT_S,
        read_s: float = READ_S,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        transport: Transport | None = None,
    ) -> None:
        self.base_url = checked_base_url(base_url, allow_http=allow_http)
        self._connect_s = connect_s
        self._read_s = read_s
        self._limit = max_answer_bytes
        self._given = transport
        self._pools: PerLoop[Transport] = PerLoop(self._new_pool)
        self._urls: dict[str, httpx.URL] = {}

    async def send(self, request: Outgoing, timeout: float) -> Incoming:
        """The whole answer within `timeout` seconds."""
        try:
            opened = await self.open(request, timeout)
        except WireError as broken:
            return Incoming(failure=broken.failure)
        try:
            content = await opened.read_all()
        except WireError as broken:
            return Incoming(
                status=opened.status, headers=opened.headers, failure=broken.failure, first_byte_s=opened.first_byte_s
            )
        finally:
            await opened.aclose()
        return Incoming(status=opened.status, headers=opened.headers, content=content, first_byte_s=opened.first_byte_s)

    async def open(self, request: Outgoing, timeout: float, stream_s: float = 0.0) -> Opened:
        """The answer as soon as its headers are there. Raises WireError; the caller closes what it gets.

        Once it is `begun()`, it may go on for `stream_s`.
        """
        outgoing = self._request(request, timeout)
        alarm = Alarm(asyncio.get_running_loop().time() + timeout)
        start = time.perf_counter()
        try:
            with alarm:
                pool = self._given or await self._pools.get()
                response = await pool.handle_async_request(outgoing)
        except BaseException as error:
            alarm.off()
            if isinstance(error, TimeoutError):
                raise WireError(_late()) from None
            if isinstance(error, httpx.TransportError):
                raise WireError(_failure(error, sent=not isinstance(error, _NOT_SENT))) from None
            raise
        first_byte_s = time.perf_counter() - start
        return Opened(
            response,
            alarm=alarm,
            goes_on=(stream_s, self._read_s),
            first_byte_s=first_byte_s,
            limit=self._limit,
        )

    def _request(self, request: Outgoing, timeout: float) -> httpx.Request:
        connect = min(self._connect_s, timeout * 0.98)
        # Reading has no bound of its own here: the deadline ends it, and a stream that goes on outlasts `timeout`.
        extensions = {"timeout": {"connect": connect, "read": None, "write": timeout, "pool": connect}}
        url = self._urls.get(request.url)
        if url is None:
            url = self._url(request)
        stream = httpx.ByteStream(request.content)  # with a stream of its own httpx adds no headers and looks at none
        return httpx.Request(request.method, url, headers=_framed(request, url), stream=stream, extensions=extensions)

    def _url(self, request: Outgoing) -> httpx.URL:
        try:
            parsed = httpx.URL(request.url)
        except (httpx.InvalidURL, UnicodeError):
            raise WireError(_unsendable("the address of the request is not a URL")) from None
        if request.keep_url and len(self._urls) < _URLS_KEPT:
            self._urls[request.url] = parsed
        return parsed

    def _new_pool(self) -> Transport:
        return httpx.AsyncHTTPTransport(
            verify=_tls(self.base_url.startswith("https:")),
            limits=_LIMITS,
            trust_env=False,
            proxy=_proxy_for(self.base_url),
        )

    async def aclose(self) -> None:
        """Close the pools of every loop that still runs."""
        await self._pools.aclose()
        if self._given is not None:
            await self._given.aclose()


_BODILESS: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


def _framed(request: Outgoing, url: httpx.URL) -> RawHeaders:
    """A request's headers with the host and the length of what is sent, unless they are there."""
    names = {name for name, _ in request.headers}
    headers = request.headers if b"host" in names else [(b"host", url.netloc), *request.headers]
    if b"content-length" in names or not (request.content or request.method not in _BODILESS):
        return headers
    return [*headers, (b"content-length", b"%d" % len(request.content))]


_NOT_SENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
)


def _failure(error: httpx.TransportError, *, sent: bool) -> Failure:
    """Our own sentence for a broken connection; once sent, the provider may have charged for it."""
    if isinstance(error, httpx.LocalProtocolError):
        return _unsendable("the request holds a header or body that HTTP cannot carry")
    if not sent:
        return Failure(kind=Kind.NETWORK, message=f"could not connect to the provider ({_word(error)})", sent=False)
    if isinstance(error, httpx.WriteError | httpx.WriteTimeout):
        return Failure(kind=Kind.NETWORK, message="the connection broke while the request was being sent")
    if isinstance(error, httpx.ReadTimeout):
        return Failure(kind=Kind.TIMEOUT, message="the provider stopped answering", billed=True)
    return Failure(kind=Kind.NETWORK, message="the connection broke before the answer was complete", billed=True)


def _word(error: httpx.TransportError) -> str:
    words = {httpx.ConnectTimeout: "too slow", httpx.PoolTimeout: "no free connection", httpx.ProxyError: "proxy"}
    return words.get(type(error), "refused or unreachable")


def _late() -> Failure:
    return Failure(kind=Kind.TIMEOUT, message="no complete answer came within the request's time", billed=True)


def _malformed(message: str) -> Failure:
    return Failure(kind=Kind.MALFORMED, message=message, billed=True)


def _unsendable(message: str) -> Failure:
    return Failure(kind=Kind.INVALID, message=message, sent=False)


def _body_of(response: httpx.Response) -> AsyncIterator[bytes]:
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    return aiter(stream)


def _plain_headers(response: httpx.Response) -> dict[str, str]:
    """Lower-case names; repeated headers joined with commas; cookies left out."""
    found: dict[str, str] = {}
    for raw_name, raw_value in response.headers.raw:
        name = raw_name.decode("latin-1").lower()
        if name == "set-cookie":
            continue
        value = raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _inflater(encoding: str) -> zlib._Decompress | None:
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    return zlib.decompressobj(zlib.MAX_WBITS | 32)


@cache
def _tls(needed: bool) -> ssl.SSLContext:
    """One context for all providers: making one takes tens of milliseconds. Without https it trusts nobody."""
    return httpx.create_ssl_context() if needed else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _proxy_for(base_url: str) -> str | None:
    """The environment's proxy for this address; never for loopback."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if is_loopback(host) or proxy_bypass(host):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
