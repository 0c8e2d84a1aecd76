"""What every adapter must do, as tests: subclass `AdapterSuite`, say what the provider answers, run pytest.

    class TestMine(AdapterSuite):
        answer = b'{"choices": [...], "usage": {...}}'
        text = "Hello"
        def make(self, base_url): return MyAdapter(base_url=base_url)

The provider is a socket on loopback that says what real ones say on bad days: half an answer, an HTML page, a stream
cut inside a character. The tests are coroutines (pytest-asyncio in auto mode, or anyio's plugin, runs them).
"""

from __future__ import annotations

import asyncio
import gzip
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.model import Usage
from apikeyrouter.errors import InvalidRequestError
from apikeyrouter.ports import Adapter, Answer, Call, Chunk
from apikeyrouter.testing.calls import called_by, calls_of, joined, read
from apikeyrouter.testing.raw import CUT, HANG, RawProvider, Received, Script, Step, chunked, response

KEY = "sk-suite-0123456789abcdefABCDEF"


class PlainSecret:
    """A key for tests, which shows itself only when asked."""

    def __init__(self, value: str = KEY) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "PlainSecret(*****)"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One way the provider says no: what it sends, and what that means."""

    means: Kind
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    retry_after: float | None = None


DEMANDED: Final = frozenset({Kind.RATE_LIMITED, Kind.UNAUTHENTICATED, Kind.OVERLOADED})
"""What every API says in some way, and what routing cannot do without."""


class AdapterSuite:
    """Class attributes describe one adapter and the words of its provider; see the module's docstring.

    `events` is a whole event stream with `text` and `usage` in it (empty: the adapter does not stream); `stream_error`
    is an event that reports an overload after a 200. `key_is_sent` False: the key buys or signs instead of travelling.
    `calls` is an answer whose model calls a tool, `called` that tool's name and arguments, `call_events` the same as a
    stream (each empty: the API has no tools). `demanded` are the refusals that `refusals` must at least hold.
    `patience_s` is what the tests wait for an answer that never comes: more, where a call begins with another.
    """

    operation: str = "chat"
    model: str = "model-1"
    body: Mapping[str, object] = {"messages": [{"role": "user", "content": "Grüße"}]}
    answer: bytes = b"{}"
    text: object = ""
    usage: Usage | None = None
    events: bytes = b""
    stream_error: bytes = b""
    refusals: Sequence[Refusal] = ()
    demanded: frozenset[Kind] = DEMANDED
    calls: bytes = b""
    call_events: bytes = b""
    called: tuple[str, Mapping[str, object]] = ("", {})
    key_in_url: bool = False
    key_is_sent: bool = True
    patience_s: float = 0.05

    @abstractmethod
    def make(self, base_url: str) -> Adapter:
        """The adapter under test, pointed at an address on loopback."""

    def call(self, *, timeout: float = 5.0) -> Call:
        """The call every test sends."""
        return Call(
            operation=self.operation,
            model=self.model,
            body=self.body,
            secret=PlainSecret(),
            timeout=timeout,
            request_id="request-1",
        )

    async def told(self, *script: bytes | Step, timeout: float = 5.0) -> Answer:
        """What the adapter makes of an answer."""
        return (await self._told(script, timeout))[0]

    async def _told(self, script: Script, timeout: float = 5.0) -> tuple[Answer, list[Received]]:
        async with RawProvider(script) as provider:
            adapter = self.make(provider.base_url)
            try:
                return await adapter.send(self.call(timeout=timeout)), provider.requests
            finally:
                await adapter.aclose()

    async def streamed(self, *script: bytes | Step) -> tuple[Failure | None, list[Chunk]]:
        """How the adapter reads a stream: the refusal, if any, and the chunks."""
        async with RawProvider(script) as provider:
            adapter = self.make(provider.base_url)
            try:
                stream = await adapter.stream(self.call())
                chunks = [chunk async for chunk in stream]
                await stream.aclose()
                await stream.aclose()
                return stream.failure, chunks
            finally:
                await adapter.aclose()

    def _needs_streaming(self) -> None:
        if not self.events:
            import pytest

            pytest.skip("this adapter does not stream")

    async def test_an_answer_is_read(self) -> None:
        answer = await self.told(response(self.answer))
        assert answer.failure is None
        assert answer.status == 200
        assert answer.content == self.text
        assert answer.usage == self.usage
        assert answer.first_byte_s is not None
        assert 0.0 < answer.first_byte_s < 5.0

    async def test_the_key_travels_where_it_should(self) -> None:
        _, requests = await self._told([response(self.answer)])
        assert len(requests) == 1
        assert (KEY in requests[0].head) == self.key_is_sent
        assert (KEY in requests[0].target) == self.key_in_url
        assert KEY.encode() not in requests[0].body

    async def test_one_connection_serves_several_requests(self) -> None:
        async with RawProvider([response(self.answer)]) as provider:
            adapter = self.make(provider.base_url)
            for _ in range(3):
                assert (await adapter.send(self.call())).failure is None
            assert len(provider.requests) == 3
            assert provider.connections == 1
            await adapter.aclose()

    async def test_a_compressed_answer_is_read(self) -> None:
        packed = response(gzip.compress(self.answer), headers={"content-encoding": "gzip"})
        assert (await self.told(packed)).content == self.text

    async def test_ten_megabytes_are_read(self) -> None:
        big = self.answer.rstrip()
        answer = await self.told(response(big[:-1] + b" " * 10_000_000 + big[-1:]))
        assert answer.failure is None
        assert answer.content == self.text

    async def test_every_refusal_is_classified(self) -> None:
        missing = self.demanded - {refusal.means for refusal in self.refusals}
        assert not missing, f"name how this provider says {', '.join(sorted(missing))}"
        for refusal in self.refusals:
            answer = await self.told(response(refusal.body, refusal.status, refusal.headers))
            assert answer.failure is not None
            assert answer.failure.kind is refusal.means, answer.failure
            if refusal.retry_after is not None:
                assert answer.failure.retry_after == refusal.retry_after
            assert answer.body is None

    async def test_every_refused_stream_is_classified(self) -> None:
        self._needs_streaming()
        for refusal in self.refusals:
            failure, chunks = await self.streamed(response(refusal.body, refusal.status, refusal.headers))
            assert failure is not None
            assert failure.kind is refusal.means
            assert chunks == []

    def _needs(self, given: bytes, what: str) -> None:
        if not given:
            import pytest

            pytest.skip(f"this adapter has no {what}")

    async def test_a_tool_call_is_read(self) -> None:
        self._needs(self.calls, "tools")
        answer = await self.told(response(self.calls))
        assert answer.failure is None
        assert called_by(calls_of(answer.body)) == [self.called]

    async def test_a_streamed_tool_call_is_read(self) -> None:
        self._needs(self.call_events, "streamed tools")
        for size in (1, len(self.call_events)):
            parts = [self.call_events[at : at + size] for at in range(0, len(self.call_events), size)]
            failure, chunks = await self.streamed(chunked(*parts))
            assert failure is None
            assert all(chunk.failure is None for chunk in chunks), chunks[-1]
            assert any(chunk.content for chunk in chunks)
            assert called_by(joined(chunks)) == [self.called]

    async def test_a_key_in_a_refusal_is_hidden(self) -> None:
        said = json.dumps({"error": {"message": f"bad key {KEY} given"}, "message": f"bad key {KEY}"}).encode()
        answer = await self.told(response(said, 401))
        assert answer.failure is not None
        assert KEY not in repr(answer)
        assert KEY[:9] not in answer.failure.message

    async def test_an_error_page_is_no_answer(self) -> None:
        page = b"<!doctype html><html><body><h1>502 Bad Gateway</h1></body></html>"
        answer = await self.told(response(page, 502, kind="text/html"))
        assert answer.failure is not None
        assert answer.failure.kind in (Kind.SERVER_ERROR, Kind.OVERLOADED)
        assert "<" not in answer.failure.message

    async def test_broken_json_is_malformed(self) -> None:
        for broken in (b"", b"{", b"\xff\xfe\x00", b"null x", self.answer[: len(self.answer) // 2]):
            answer = await self.told(response(broken))
            assert answer.failure is not None
            assert answer.failure.kind is Kind.MALFORMED, broken

    async def test_half_an_answer_is_a_broken_connection(self) -> None:
        whole = response(self.answer)
        answer = await self.told(whole[:-5], CUT)
        assert answer.failure is not None
        assert answer.failure.kind is Kind.NETWORK
        assert answer.failure.billed
        assert answer.failure.sent

    async def test_a_server_that_hangs_up_is_a_broken_connection(self) -> None:
        answer = await self.told(CUT)
        assert answer.failure is not None
        assert answer.failure.kind is Kind.NETWORK

    async def test_an_answer_that_never_comes_may_be_billed(self) -> None:
        answer = await self.told(HANG, timeout=self.patience_s)
        assert answer.failure is not None
        assert answer.failure.kind is Kind.TIMEOUT
        assert answer.failure.billed

    async def test_an_answer_that_never_ends_is_late(self) -> None:
        answer = await self.told(response(self.answer)[:-5], HANG, timeout=self.patience_s)
        assert answer.failure is not None
        assert answer.failure.kind is Kind.TIMEOUT

    async def test_nobody_there_was_never_sent(self) -> None:
        async with RawProvider() as provider:
            address = provider.base_url
        adapter = self.make(address)
        answer = await adapter.send(self.call())
        await adapter.aclose()
        assert answer.failure is not None
        assert answer.failure.kind is Kind.NETWORK
        assert not answer.failure.sent

    async def test_a_cancelled_call_leaves_the_connection(self) -> None:
        async with RawProvider([HANG]) as provider:
            adapter = self.make(provider.base_url)
            task = asyncio.create_task(adapter.send(self.call()))
            async with asyncio.timeout(5):
                await provider.arrived.wait()
            task.cancel()
            outcome = (await asyncio.gather(task, return_exceptions=True))[0]
            assert isinstance(outcome, asyncio.CancelledError)
            async with asyncio.timeout(5):
                await provider.left.wait()
            await adapter.aclose()

    async def test_a_key_no_header_can_carry_is_refused_unsent(self) -> None:
        async with RawProvider([response(self.answer)]) as provider:
            adapter = self.make(provider.base_url)
            answer = await adapter.send(replace(self.call(), secret=PlainSecret("sk-bad\r\nx-evil: 1")))
            await adapter.aclose()
            assert answer.failure is not None
            assert answer.failure.kind is Kind.UNAUTHENTICATED
            assert not answer.failure.sent
            assert provider.requests == []

    async def test_an_unknown_operation_is_refused(self) -> None:
        adapter = self.make("http://127.0.0.1:9")
        said = ""
        try:
            adapter.check("no-such-operation", self.body)
        except InvalidRequestError as error:
            said = error.message
        await adapter.aclose()
        assert "no-such-operation" in said

    async def test_a_stream_is_read(self) -> None:
        self._needs_streaming()
        failure, chunks = await self.streamed(chunked(self.events))
        assert failure is None
        self._is_whole(chunks)

    def _is_whole(self, chunks: list[Chunk]) -> None:
        assert all(chunk.failure is None for chunk in chunks), chunks[-1]
        assert "".join(chunk.text for chunk in chunks) == self.text
        stated = [chunk.usage for chunk in chunks if chunk.usage is not None]
        assert stated[-1:] == [self.usage]

    async def test_a_stream_may_be_cut_anywhere_between_packets(self) -> None:
        self._needs_streaming()
        for size in (1, 2, 7):
            parts = [self.events[at : at + size] for at in range(0, len(self.events), size)]
            self._is_whole((await self.streamed(chunked(*parts)))[1])

    async def test_a_stream_may_end_its_lines_in_any_way_and_hold_comments(self) -> None:
        self._needs_streaming()
        for ending in (b"\r\n", b"\r"):
            lively = b": keep-alive\n\n" + self.events.replace(b"\n\n", b"\n\n: still here\n\n")
            self._is_whole((await self.streamed(chunked(lively.replace(b"\n", ending))))[1])

    async def test_a_compressed_stream_is_read(self) -> None:
        self._needs_streaming()
        packed = gzip.compress(self.events)
        head, _, tail = chunked(packed[:9], packed[9:]).partition(b"\r\n\r\n")
        self._is_whole((await self.streamed(head + b"\r\ncontent-encoding: gzip\r\n\r\n" + tail))[1])

    async def test_a_stream_that_breaks_off_says_so(self) -> None:
        self._needs_streaming()
        half = self.events[: len(self.events) // 2]
        for script in ((chunked(half),), (chunked(half, ends=False), CUT)):
            _, chunks = await self.streamed(*script)
            last = chunks[-1].failure
            assert last is not None
            assert last.kind in (Kind.NETWORK, Kind.MALFORMED, Kind.EMPTY)
            assert all(chunk.failure is None for chunk in chunks[:-1])

    async def test_an_empty_stream_is_a_failure(self) -> None:
        self._needs_streaming()
        _, chunks = await self.streamed(chunked(b": nothing to say\n\n"))
        assert [chunk.failure is not None for chunk in chunks] == [True]

    async def test_an_error_inside_a_stream_ends_it(self) -> None:
        self._needs_streaming()
        start = self.events[: self.events.index(b"\n\n") + 2]
        _, chunks = await self.streamed(chunked(start, self.stream_error, self.events))
        last = chunks[-1].failure
        assert last is not None
        assert last.kind is Kind.OVERLOADED
        assert all(chunk.failure is None for chunk in chunks[:-1])

    async def test_a_whole_answer_is_no_stream(self) -> None:
        self._needs_streaming()
        failure, _ = await self.streamed(response(self.answer))
        assert failure is not None
        assert failure.kind is Kind.MALFORMED

    async def test_a_stream_may_be_left_early(self) -> None:
        self._needs_streaming()
        async with RawProvider([chunked(self.events, ends=False), HANG]) as provider:
            adapter = self.make(provider.base_url)
            stream = await adapter.stream(self.call())
            await anext(aiter(stream))
            await stream.aclose()
            async with asyncio.timeout(5):
                await provider.left.wait()
            await adapter.aclose()

    async def test_a_cancelled_stream_leaves_the_connection(self) -> None:
        self._needs_streaming()
        start = self.events[: self.events.index(b"\n\n") + 2]
        async with RawProvider([chunked(start, ends=False), HANG]) as provider:
            adapter = self.make(provider.base_url)
            stream = await adapter.stream(self.call())
            reading = asyncio.create_task(read(stream))
            for _ in range(10):
                await asyncio.sleep(0)  # until it waits for what will never come
            reading.cancel()
            outcome = (await asyncio.gather(reading, return_exceptions=True))[0]
            assert isinstance(outcome, asyncio.CancelledError)
            await stream.aclose()
            async with asyncio.timeout(5):
                await provider.left.wait()
            await adapter.aclose()

    async def test_a_stream_that_never_begins_is_late(self) -> None:
        self._needs_streaming()
        for script in ((HANG,), (chunked(b": patience\n\n", ends=False), HANG)):
            async with RawProvider(script) as provider:
                adapter = self.make(provider.base_url)
                stream = await adapter.stream(self.call(timeout=self.patience_s))
                chunks = await read(stream)
                await stream.aclose()
                await adapter.aclose()
            failure = stream.failure or chunks[-1].failure
            assert failure is not None
            assert failure.kind is Kind.TIMEOUT
            assert failure.billed
