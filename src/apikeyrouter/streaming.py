"""A routed stream: fails over until the answer begins, settles exactly once however it ends.

What comes before the answer (role, keep-alives) is kept back, so that a provider that breaks there can be replaced
unseen. Afterwards a break is a PartialStreamError with the text so far. Closing, cancelling, breaking off and
forgetting the iterator all settle: with the usage if it came, else at the estimate. Usage that only we asked for is
read here and not handed on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Self

from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.ledger import Lease, Settlement
from apikeyrouter.core.model import Reading, Usage
from apikeyrouter.dispatch import Errand, RoutingMetadata, metadata_of
from apikeyrouter.errors import ApiKeyRouterError, ConfigurationError, InvalidRequestError, PartialStreamError
from apikeyrouter.ports import Chunk, ChunkStream


def begins(chunk: Chunk) -> bool:
    """Whether the answer is in this chunk: some of it, or its end (an answer may be empty); not merely who speaks."""
    if chunk.content or chunk.text:
        return True
    choices = chunk.data.get("choices")
    return isinstance(choices, list) and any(isinstance(c, Mapping) and c.get("finish_reason") for c in choices)


def ends(chunk: Chunk) -> bool:
    """Whether the usage told from this chunk on is the whole: the answer has ended, or is not told in choices."""
    choices = chunk.data.get("choices")
    if not isinstance(choices, list) or not choices:
        return chunk.usage is not None
    return _stops(choices)


def _stops(choices: list[object]) -> bool:
    """Whether a choice says why it ended. Asked of every chunk: a plain loop takes half the time of any()."""
    for choice in choices:  # noqa: SIM110
        if isinstance(choice, dict) and choice.get("finish_reason"):
            return True
    return False


class RoutedStream:
    """Iterate once. `metadata` and `usage` are there when the first chunk, or the last, has come."""

    def __init__(self, errand: Errand) -> None:
        self._errand = errand
        self._inner: ChunkStream | None = None
        self._lease: Lease | None = None
        self._ready: deque[Chunk] = deque()
        self._text: list[str] = []
        self._ends = False
        self._started = False
        self._first_s: float | None = None
        self._finished = False
        self._busy = False
        self.usage: Usage | None = None
        self.metadata: RoutingMetadata | None = None

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def __anext__(self) -> Chunk:
        if self._finished and not self._ready:
            raise StopAsyncIteration
        if self._busy:
            raise ApiKeyRouterError("A stream is read by one task at a time; this one is being read already.")
        self._busy = True
        try:
            if not self._started:
                await self._start()
            return self._ready.popleft() if self._ready else await self._following()
        except (StopAsyncIteration, PartialStreamError):
            raise
        except BaseException:
            await self.aclose()
            raise
        finally:
            self._busy = False

    async def _start(self) -> None:
        """Open, with failover, until content is in hand; whole streams without content are failures too."""
        while not self._started:
            lease = await self._errand.lease()
            if self._closed():  # while it waited for room: nothing was sent
                self._errand.router.release(lease)
                raise StopAsyncIteration
            self._lease = lease
            self._errand.dispatcher.retry_budget(lease.provider).earn()
            inner = await self._open(lease)
            if self._closed():  # while it was opened: aclose() has settled it
                await inner.aclose()
                raise StopAsyncIteration
            failure = inner.failure or await self._to_first_content(inner)
            if failure is None:
                self._started = True
                self._errand.goes_on(lease)
                self._first_s = self._errand.router.now() - lease.at
                self.metadata = self._told(lease, None)
                return
            self._forget()
            await inner.aclose()
            await self._errand.failed(lease, failure, inner.headers)

    def _closed(self) -> bool:
        """Whether another task has closed the stream meanwhile."""
        return self._finished

    def _forget(self) -> None:
        """An attempt came to nothing: what it said is not part of the answer."""
        self._lease = self._inner = self.usage = None
        self._ends = False
        self._ready.clear()
        self._text.clear()

    async def _open(self, lease: Lease) -> ChunkStream:
        try:
            self._inner = await self._errand.adapter(lease).stream(self._errand.call(lease))
        except (InvalidRequestError, ConfigurationError):
            self._errand.router.release(lease)
            self._lease = None
            raise
        return self._inner

    async def _to_first_content(self, inner: ChunkStream) -> Failure | None:
        async for chunk in inner:
            if chunk.failure is not None:
                return chunk.failure
            self._take(chunk)
            if chunk.data or chunk.text or chunk.raw:
                self._ready.append(chunk)
            if begins(chunk):
                return None
        if self.usage is not None and self.usage.output_tokens:
            return None
        return Failure(kind=Kind.EMPTY, status=inner.status, message="the stream ended without content", billed=True)

    async def _following(self) -> Chunk:
        inner = self._inner
        if inner is None:
            raise StopAsyncIteration
        async for chunk in inner:
            if chunk.failure is not None:
                await self._broken(chunk.failure)
            self._take(chunk)
            if chunk.data or chunk.text or chunk.raw:
                return chunk
        await self._finish()
        raise StopAsyncIteration

    def _take(self, chunk: Chunk) -> None:
        self._ends = self._ends or ends(chunk)
        if chunk.usage is not None:
            self.usage = chunk.usage
        if chunk.text:
            self._text.append(chunk.text)

    def _told(self, lease: Lease, done: Settlement | None) -> RoutingMetadata:
        metadata = metadata_of(self._errand.attempts, lease, None if done is None else done.cost)
        return replace(metadata, first_token_s=self._first_s)

    async def _broken(self, failure: Failure) -> None:
        lease, self._lease, self._finished = self._lease, None, True
        if lease is not None:
            readings = self._readings(lease)
            self._errand.router.fail(lease, replace(failure, billed=True), readings=readings)
        await self._close_inner()
        text = "".join(self._text)
        who = lease.provider if lease is not None else "the provider"
        raise PartialStreamError(
            f"{who} broke the stream ({failure.kind}) after {len(text):,} characters; they are in `text`.",
            text=text,
            usage=self.usage,
            status=failure.status,
        )

    def _readings(self, lease: Lease) -> tuple[Reading, ...]:
        """What the headers say of quotas; a lease is ended even if its adapter cannot read them."""
        try:
            return self._errand.adapter(lease).limits(self._inner.headers) if self._inner is not None else ()
        except BaseException:
            self._errand.router.fail(lease, Failure(kind=Kind.CANCELLED, billed=True))
            raise

    async def _finish(self) -> None:
        lease, self._lease, self._finished = self._lease, None, True
        if lease is not None and self._inner is not None:
            try:
                done = self._errand.settle(lease, self._inner, self.usage, self._first_s)
            except BaseException:
                self._errand.router.fail(lease, Failure(kind=Kind.CANCELLED, billed=True))
                raise
            self.metadata = self._told(lease, done)
        await self._close_inner()

    async def aclose(self) -> None:
        """Stop reading. What was sent is settled by its usage, else at its estimate; unopened, it costs nothing."""
        if self._finished:
            return
        lease, self._lease, self._finished = self._lease, None, True
        self._ready.clear()
        try:
            if lease is not None:
                self._break_off(lease)
            self._errand.judge_all()
        finally:
            await self._close_inner()

    def _break_off(self, lease: Lease) -> None:
        """An answer that had begun was good as far as it went; before that, nobody knows what became of it.

        A usage that was told before the end is what was used until then, and not what will be billed.
        """
        if self._started and self._inner is not None:
            self._errand.settle(lease, self._inner, self.usage if self._ends else None, self._first_s)
        else:
            self._errand.router.fail(lease, Failure(kind=Kind.CANCELLED, billed=True))

    async def _close_inner(self) -> None:
        inner, self._inner = self._inner, None
        if inner is not None:
            await inner.aclose()

    def __del__(self) -> None:
        lease = getattr(self, "_lease", None)
        if lease is not None:
            self._errand.router.abandon(lease.id)
