"""What the door needs of httpx and of httpx2, without importing either: the request says which of them is in use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from importlib import import_module
from typing import Protocol, cast


class Url(Protocol):
    scheme: str
    host: str
    port: int | None
    path: str
    params: Mapping[str, str]

    def copy_set_param(self, key: str, value: str) -> Url: ...


class HeaderMap(Protocol):
    def __getitem__(self, name: str) -> str: ...

    def __setitem__(self, name: str, value: str) -> None: ...

    def __contains__(self, name: object) -> bool: ...

    def __delitem__(self, name: str) -> None: ...

    def get(self, name: str, default: str = "") -> str: ...

    def items(self) -> Iterable[tuple[str, str]]: ...


class HttpRequest(Protocol):
    method: str
    url: Url
    headers: HeaderMap
    content: bytes
    extensions: Mapping[str, object]

    def read(self) -> bytes: ...

    async def aread(self) -> bytes: ...


class ByteStream(Protocol):
    def __iter__(self) -> Iterator[bytes]: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class HttpResponse(Protocol):
    status_code: int
    headers: HeaderMap
    stream: ByteStream
    content: bytes
    text: str
    extensions: dict[str, object]

    def read(self) -> bytes: ...

    async def aread(self) -> bytes: ...

    def close(self) -> None: ...

    async def aclose(self) -> None: ...


class Library(Protocol):
    """httpx, or httpx2."""

    SyncByteStream: type
    AsyncByteStream: type
    TimeoutException: type[Exception]
    ConnectError: type[Exception]
    ConnectTimeout: type[Exception]
    TransportError: type[Exception]

    def HTTPTransport(self) -> SyncInner: ...  # noqa: N802  (the libraries' own names)

    def AsyncHTTPTransport(self) -> AsyncInner: ...  # noqa: N802

    def Response(self, status_code: int, *, headers: object, content: bytes, request: object) -> HttpResponse: ...  # noqa: N802

    def Request(  # noqa: N802
        self, method: str, url: object, *, headers: object, content: bytes, extensions: object
    ) -> HttpRequest: ...


class SyncInner(Protocol):
    def handle_request(self, request: HttpRequest) -> HttpResponse: ...

    def close(self) -> None: ...


class AsyncInner(Protocol):
    async def handle_async_request(self, request: HttpRequest) -> HttpResponse: ...

    async def aclose(self) -> None: ...


def library_of(request: object) -> Library:
    """The library whose request this is."""
    return cast(Library, import_module(type(request).__module__.partition(".")[0]))
