"""The wire: bounds, addresses, loops, proxies, and sentences that never quote a header."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from apikeyrouter.adapters.address import checked_base_url, is_loopback
from apikeyrouter.adapters.http import Incoming, Outgoing, Wire, WireError
from apikeyrouter.core.failure import Kind
from apikeyrouter.errors import InvalidConfigurationError
from apikeyrouter.testing import HANG, RawProvider, chunked, response


def get(url: str, *headers: tuple[bytes, bytes]) -> Outgoing:
    return Outgoing(method="GET", url=url, headers=list(headers))


async def fetched(provider: RawProvider, wire: Wire, *, timeout: float = 5.0) -> Incoming:
    return await wire.send(get(f"{provider.base_url}/x"), timeout)


async def test_an_answer_comes_with_lower_case_headers_and_no_cookies() -> None:
    script = [response(b"{}", headers={"X-Thing": "a", "x-thing ".strip(): "b", "Set-Cookie": "session=1"})]
    async with RawProvider(script) as provider:
        wire = Wire(provider.base_url)
        incoming = await fetched(provider, wire)
        assert incoming.content == b"{}"
        assert incoming.headers["x-thing"] == "a, b"
        assert "set-cookie" not in incoming.headers
        assert provider.requests[0].header("host") == provider.base_url.removeprefix("http://")
        await wire.aclose()


@pytest.mark.parametrize("packed", [False, True])
async def test_an_answer_beyond_the_bound_is_cut_off(packed: bool) -> None:
    body = b"x" * 2_000_000
    script = [response(gzip.compress(body), headers={"content-encoding": "gzip"}) if packed else response(body)]
    async with RawProvider(script) as provider:
        wire = Wire(provider.base_url, max_answer_bytes=1_000_000)
        incoming = await fetched(provider, wire)
        assert incoming.failure is not None
        assert incoming.failure.kind is Kind.MALFORMED
        assert "bound" in incoming.failure.message
        await wire.aclose()


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
async def test_broken_compression_is_malformed(encoding: str) -> None:
    async with RawProvider([response(b"not compressed", headers={"content-encoding": encoding})]) as provider:
        wire = Wire(provider.base_url)
        incoming = await fetched(provider, wire)
        assert incoming.failure is not None
        assert incoming.failure.kind is Kind.MALFORMED
        await wire.aclose()


async def test_a_server_that_goes_quiet_is_late_by_the_deadline() -> None:
    async with RawProvider([chunked(b"x", ends=False), HANG]) as provider:
        wire = Wire(provider.base_url, read_s=0.01)
        incoming = await fetched(provider, wire, timeout=0.1)
        assert incoming.failure is not None
        assert incoming.failure.kind is Kind.TIMEOUT
        assert incoming.failure.billed
        await wire.aclose()


async def test_a_stream_that_has_begun_outlasts_the_timeout_but_not_its_silence() -> None:
    async with RawProvider([chunked(b"x", ends=False), HANG]) as provider:
        wire = Wire(provider.base_url, read_s=0.3)
        opened = await wire.open(get(f"{provider.base_url}/x"), 0.1, 60.0)
        assert await opened.read() == b"x"
        opened.begun()
        started = asyncio.get_running_loop().time()
        with pytest.raises(WireError) as broken:
            await opened.read()
        assert asyncio.get_running_loop().time() - started >= 0.29
        assert broken.value.failure.kind is Kind.TIMEOUT
        await opened.aclose()
        await wire.aclose()


async def test_what_http_cannot_carry_is_not_sent_and_not_quoted() -> None:
    async with RawProvider([response(b"{}")]) as provider:
        wire = Wire(provider.base_url)
        incoming = await wire.send(get(provider.base_url, (b"authorization", b"Bearer sk-se\r\ncret")), 5.0)
        assert incoming.failure is not None
        assert incoming.failure.kind is Kind.INVALID
        assert not incoming.failure.sent
        assert "sk-se" not in repr(incoming)
        assert provider.requests == []
        await wire.aclose()


async def test_what_is_no_address_is_not_sent() -> None:
    wire = Wire("http://127.0.0.1:9")
    incoming = await wire.send(get("http://[::1"), 5.0)
    assert incoming.failure is not None
    assert not incoming.failure.sent
    await wire.aclose()


@pytest.mark.parametrize("garbage", [b"\x00\x01\x02\r\n\r\n", b"HTTP/9.9 banana\r\n\r\n", b"SSH-2.0-OpenSSH\r\n\r\n"])
async def test_what_is_no_http_is_a_broken_connection(garbage: bytes) -> None:
    async with RawProvider([garbage, HANG]) as provider:
        wire = Wire(provider.base_url)
        incoming = await fetched(provider, wire)
        assert incoming.failure is not None
        assert incoming.failure.kind is Kind.NETWORK
        await wire.aclose()


def test_every_loop_has_its_own_connections() -> None:
    """The sync face and servers with several loops share one adapter."""
    wire = Wire("http://127.0.0.1:9")

    async def once() -> Incoming:
        async with RawProvider([response(b"{}")]) as provider:
            incoming = await fetched(provider, wire)
            await wire.aclose()
            return incoming

    assert [asyncio.run(once()).status for _ in range(2)] == [200, 200]


async def test_a_closed_wire_opens_again() -> None:
    async with RawProvider([response(b"{}")]) as provider:
        wire = Wire(provider.base_url)
        for _ in range(2):
            assert (await fetched(provider, wire)).status == 200
            await wire.aclose()
            await wire.aclose()


async def test_loopback_never_goes_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with RawProvider([response(b"{}")]) as provider:
        wire = Wire(provider.base_url)
        assert (await fetched(provider, wire)).status == 200
        await wire.aclose()


async def test_other_addresses_go_through_the_environments_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with RawProvider([response(b"{}")]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.base_url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        wire = Wire("http://api.example.test", allow_http=True)
        incoming = await wire.send(get("http://api.example.test/x"), 5.0)
        assert incoming.status == 200
        assert proxy.requests[0].target == "http://api.example.test/x"
        await wire.aclose()


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("http://api.example.com", "plain http"),
        ("ftp://api.example.com", "http"),
        ("api.example.com", "http"),
        ("https://", "http"),
        ("https://user:pass@api.example.com", "user name or password"),
        ("https://api.example.com/v1?key=1", "query"),
        ("https://api.example.com/#x", "query"),
        ("http://[::1", "not a URL"),
        ("https://api.example.com:99999", "not a URL"),
        ("http://localhost.evil.example", "plain http"),
        ("http://127.0.0.1.evil.example", "plain http"),
    ],
)
def test_addresses_a_key_may_not_go_to(url: str, hint: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=hint) as caught:
        checked_base_url(url)
    assert "pass" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com/v1/",
        "http://localhost:8000",
        "http://127.0.0.1",
        "http://[::1]:80",
        "http://a.localhost",
    ],
)
def test_addresses_a_key_may_go_to(url: str) -> None:
    assert checked_base_url(url) == url.rstrip("/")


def test_plain_http_may_be_allowed_on_purpose() -> None:
    assert checked_base_url("http://gpu-box:8000/v1", allow_http=True) == "http://gpu-box:8000/v1"


def test_loopback_names() -> None:
    assert [is_loopback(host) for host in ("localhost", "127.8.9.1", "::1", "10.0.0.1", "example.com")] == [
        True,
        True,
        True,
        False,
        False,
    ]
