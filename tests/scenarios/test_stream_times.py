"""How long a stream may take: `timeout` until its content begins, then `stream_timeout`, and `read_s` of silence.

In virtual time: a provider says a piece every so many seconds, and how long it was heard tells which bound held.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from apikeyrouter import ApiKeyRouter, ApiKeyRouterError, OpenAIAdapter, PartialStreamError, ProviderTimeoutError
from apikeyrouter.adapters import DeclarativeAdapter
from apikeyrouter.ports import Adapter
from apikeyrouter.simulator import run_virtual
from apikeyrouter.simulator.clock import LoopClock

READ_S = 50.0


def event(**delta: str) -> bytes:
    """A piece of a chat's answer."""
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() + b"\n\n"


ROLE, TEXT = event(role="assistant"), event(content="Once")


class Tale(httpx.AsyncByteStream):
    """`pieces`, one every `each_s` seconds and the first at once; then silence for ever."""

    def __init__(self, pieces: list[bytes], each_s: float) -> None:
        self.pieces, self.each_s = pieces, each_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece
            await asyncio.sleep(self.each_s)
        await asyncio.sleep(86_400.0)


class Teller(httpx.AsyncBaseTransport):
    """A provider without a network, in the time of its loop."""

    def __init__(self, *pieces: bytes, each_s: float) -> None:
        self.pieces, self.each_s = list(pieces), each_s

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers = {"content-type": "text/event-stream"}
        return httpx.Response(200, headers=headers, stream=Tale(self.pieces, self.each_s))


def chats(teller: Teller) -> Adapter:
    return OpenAIAdapter(base_url="http://127.0.0.1:9", transport=teller, read_s=READ_S)


def passes(teller: Teller, what: str) -> Adapter:
    tell = {"method": "POST", "path": "/tell", "stream": what, "content": "$.choices[0].delta.content"}
    return DeclarativeAdapter(
        {"base_url": "http://127.0.0.1:9", "operations": {"chat": tell}, "read_s": READ_S}, transport=teller
    )


ADAPTERS = {
    "a chat": chats,
    "any events": lambda teller: passes(teller, "sse"),
    "any bytes": lambda teller: passes(teller, "bytes"),
}


def listened(teller: Teller, how: str = "a chat", **settings: float) -> tuple[float, type[ApiKeyRouterError]]:
    """Seconds until a stream was given up, and how its reader is told; `settings` are those of the file."""

    async def listen() -> tuple[float, type[ApiKeyRouterError]]:
        source = {"settings": {"attempts": 1, "unknown_price": "allow", **settings}}
        router = ApiKeyRouter.from_config(source, environ={}, clock=LoopClock(), log=False)
        await router.register_provider("p", ADAPTERS[how](teller))
        await router.register_key("sk-0123456789", "p")
        body = {"model": "p/m", "messages": [{"role": "user", "content": "a story"}]}
        started = asyncio.get_running_loop().time()
        async with router:
            with pytest.raises(ApiKeyRouterError) as told:
                async for _ in router.stream(body, provider="p", operation="chat"):
                    pass
        assert router.get_state_summary().open_leases == 0
        return asyncio.get_running_loop().time() - started, told.type

    return run_virtual(listen())


@pytest.mark.parametrize("how", ADAPTERS)
def test_what_has_begun_outlasts_the_timeout_and_ends_by_a_bound_of_its_own(how: str) -> None:
    teller = Teller(*[TEXT] * 1000, each_s=1.0)
    took, told = listened(teller, how, timeout=10, stream_timeout=200)
    assert took == pytest.approx(200.0, abs=1.0)
    assert told is PartialStreamError


@pytest.mark.parametrize("how", ADAPTERS)
def test_what_has_begun_may_be_silent_for_so_long_only(how: str) -> None:
    took, told = listened(Teller(TEXT, TEXT, each_s=20.0), how, timeout=10, stream_timeout=200)
    assert took == pytest.approx(20.0 + READ_S, abs=1.0)
    assert told is PartialStreamError


def test_a_role_alone_begins_nothing() -> None:
    took, told = listened(Teller(*[ROLE] * 1000, each_s=1.0), timeout=10, stream_timeout=200)
    assert took == pytest.approx(10.0, abs=1.0)
    assert told is ProviderTimeoutError


def test_without_a_word_in_the_file_a_stream_may_last_ten_minutes() -> None:
    took, _ = listened(Teller(*[TEXT] * 100, each_s=10.0))
    assert took == pytest.approx(600.0, abs=1.0)
