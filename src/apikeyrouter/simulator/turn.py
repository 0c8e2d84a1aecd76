"""One request from arrival to the last byte: key, limit, delay, answer, record. The only driver; dialects only speak.

The order is a provider's: who are you, is it a request at all, is there room, then work. Whatever happens, the request
leaves exactly one line in the record and gives back its place in flight.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import cast

from apikeyrouter.simulator.clock import NS
from apikeyrouter.simulator.dialect import Call, Dialect, Problem
from apikeyrouter.simulator.faults import Fault
from apikeyrouter.simulator.record import Seen
from apikeyrouter.simulator.spec import Model
from apikeyrouter.simulator.state import KeyState, Quota, Reading, Refusal
from apikeyrouter.simulator.wire import Answer, HeaderList, Message, Receive, Request, Scope, Send, header_list
from apikeyrouter.simulator.world import Stamp, World

__all__ = ["DROP", "ConnectionDroppedError", "Turn", "send_answer"]

DROP = "apikeyrouter.drop"
"""The ASGI extension by which our own server lets an application break the connection."""


class ConnectionDroppedError(ConnectionError):
    """What a drop looks like in process, where there is no connection to break."""


async def send_answer(send: Send, answer: Answer) -> None:
    headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


class Turn:
    """The state of one request while it is served."""

    __slots__ = (
        "_dialect",
        "_key",
        "_line",
        "_organisation",
        "_quota",
        "_readings",
        "_receive",
        "_request",
        "_scope",
        "_stamp",
        "_world",
        "seen",
    )

    def __init__(
        self, world: World, dialect: Dialect, request: Request, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._world = world
        self._dialect = dialect
        self._request = request
        self._scope = scope
        self._receive = receive
        self._line = send
        self._key: KeyState | None = None
        self._stamp: Stamp = world.stamp()
        self._readings: tuple[Reading, ...] = ()
        self.seen = Seen(at=0, key="-", organisation="-", model="-", operation="-")

    async def run(self) -> None:
        """Serve the request."""
        material = self._dialect.material(self._request)
        key = self._world.find(material, self._dialect.name)
        if key is None:
            self._world.unknown_keys += 1
            await self._send_answer(self._refuse("invalid_key" if material else "no_key", Problem("invalid_key")))
            return
        self.seen.key, self.seen.organisation = key.id, key.organisation.id
        self._organisation = key.organisation
        self._world.enter(key)
        self._key = key
        try:
            await self._serve(key)
        finally:
            self._over()

    def _over(self) -> None:
        """Put the request on record: before its last byte, so that whoever has read the answer finds it there."""
        key, self._key = self._key, None
        if key is not None:
            self.seen.at = self.seen.at or self._world.now_ns()
            self.seen.took_s = self._world.clock.now() - self._stamp.arrived
            self._world.leave(key, self.seen)

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._over()
        await self._line(message)

    async def _serve(self, key: KeyState) -> None:
        if key.status != "alive":
            await self._send_answer(self._refuse("invalid_key", Problem("invalid_key")))
            return
        self._stamp.organisation = key.organisation.id
        call = self._dialect.read(self._request, self._organisation.spec, self._world.spec.default_max_output)
        self.seen.model, self.seen.operation = call.model, call.operation
        model = self._model(call.model)
        self._quota: Quota = self._organisation.quota(model.name if model else call.model)
        problem = call if isinstance(call, Problem) else self._unfit(call, model)
        if problem is not None:
            self._world.charge_failure(self.seen, self._quota)
            await self._send_answer(self._refuse(problem.name, problem))
        elif isinstance(call, Call):
            await self._admit(call)

    def _unfit(self, call: Call, model: Model | None) -> Problem | None:
        """What is wrong with a request that was understood: unpaid, no such model, or longer than the model reads."""
        name = ""
        if self._organisation.status == "unpaid":
            name = "unpaid"
        elif call.model != "-":
            if model is None or not self._organisation.may_use(call.model):
                name = "model_not_found"
            elif call.input_tokens + call.asked_output > model.context:
                return Problem(
                    "context_length",
                    f"{model.context}:{call.input_tokens}:{call.asked_output}",
                    call.model,
                    call.operation,
                )
        return Problem(name, call.argument, call.model, call.operation) if name else None

    def _model(self, name: str) -> Model | None:
        """The model of that name; a date at its end is the same model, with the same limits."""
        offered = [m for m in self._world.spec.models if m.dialect == self._dialect.name] or self._dialect.models
        plain = _DATED.sub("", name)
        return next((model for model in offered if model.name in (name, plain)), None)

    async def _admit(self, call: Call) -> None:
        delay, fault = self._world.strike(self.seen)
        refusal = self._too_many() or self._world.admit(self.seen, self._quota, _charge(call, fault), call.check)
        self._readings = self._world.readings(self._quota)
        if refusal is not None:
            self.seen.outcome, self.seen.reason = "throttled", refusal.reading.name
            await self._send_answer(self._dialect.throttled(call, self._stamp, refusal, self._organisation.spec))
            return
        call.settle_length(self._world.draw_output(self._organisation))
        self.seen.input_tokens = call.input_tokens
        first_s, per_token_s = self._world.draw_latency(self._organisation)
        if fault is not None:
            self.seen.outcome, self.seen.reason = "fault", fault.kind
        await self._perform(call, fault, first_s + delay, per_token_s)

    def _too_many(self) -> Refusal | None:
        most, now = self._organisation.spec.max_in_flight, self._organisation.counters.in_flight
        if most is None or now <= most:
            return None
        return Refusal(Reading("concurrency", "requests", most, most, 0, NS, NS), 1, NS)

    async def _perform(self, call: Call, fault: Fault | None, first_s: float, per_token_s: float) -> None:
        kind = fault.kind if fault else ""
        if fault is not None and kind == "error":
            await self._pause(first_s)
            await self._send_answer(self._failure(fault, call))
        elif fault is not None and kind == "hang":
            await self._hang(fault.seconds)
        elif fault is not None and kind == "drop" and not (call.stream and fault.after):
            await self._drop()
        elif call.stream:
            await self._stream(call, fault, first_s, per_token_s)
        else:
            await self._complete(call, fault, first_s + per_token_s * call.output_tokens)

    # -- the ways to answer

    async def _complete(self, call: Call, fault: Fault | None, seconds: float) -> None:
        await self._pause(seconds)
        self._produced(call, call.output_tokens * call.answers)
        answer = self._dialect.answer(call, self._stamp, self._organisation.spec)
        answer.headers = [*answer.headers, *self._headers()]
        if fault is None:
            await self._send_answer(answer, with_headers=False)
        else:
            await self._send_spoilt(answer, fault)

    async def _send_spoilt(self, answer: Answer, fault: Fault) -> None:
        if fault.kind == "malformed":
            answer.body = answer.body[: len(answer.body) // 2]
        elif fault.kind == "huge_body":
            answer.body += b" " * fault.size
        elif fault.kind == "slow_headers":
            await self._pause(fault.seconds)
        if fault.kind != "slow_body":
            await self._send_answer(answer, with_headers=False)
            return
        await self._start(answer.status, [*answer.headers, (b"content-length", b"%d" % len(answer.body))])
        await self._pause(fault.seconds)
        await self._send({"type": "http.response.body", "body": answer.body})

    async def _stream(self, call: Call, fault: Fault | None, first_s: float, per_token_s: float) -> None:
        kind = fault.kind if fault else ""
        gone = asyncio.ensure_future(self._gone()) if first_s or per_token_s else None
        try:
            await self._pause(first_s + (fault.seconds if fault and kind == "slow_headers" else 0.0))
            await self._start(200, [*self._dialect.stream_headers(call), *self._headers()])
            if kind == "slow_body" and fault:
                await self._pause(fault.seconds)
            if kind == "empty_stream":
                await self._send({"type": "http.response.body", "body": b""})
            else:
                await self._send_pieces(call, fault, per_token_s, gone)
        finally:
            if gone is not None:
                gone.cancel()

    async def _send_pieces(
        self, call: Call, fault: Fault | None, per_token_s: float, gone: asyncio.Future[None] | None
    ) -> None:
        pieces = list(self._dialect.pieces(call, self._stamp, self._world.spec.chunk_tokens))
        if not per_token_s and fault is None:  # nothing to wait for: one write instead of hundreds
            self._produced(call, call.output_tokens * call.answers)
            await self._send({"type": "http.response.body", "body": b"".join(piece.data for piece in pieces)})
            return
        last = len(pieces) - 1
        for number, piece in enumerate(pieces):
            if fault is not None and number == fault.after and fault.kind in _MID_STREAM:
                await self._break(fault, piece.data)
                return
            if per_token_s and piece.tokens:
                await self._pause(per_token_s * piece.tokens)
            if gone is not None and gone.done():
                self.seen.left = True
                return
            self._produced(call, piece.tokens)
            if number == last:
                self._over()
            await self._part(piece.data)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _break(self, fault: Fault, next_piece: bytes) -> None:
        if fault.kind == "drop":
            await self._drop()
            return
        broken = next_piece[: len(next_piece) // 2]
        last = self._dialect.stream_error(fault.error, self._stamp) if fault.kind == "stream_error" else broken
        await self._send({"type": "http.response.body", "body": last, "more_body": False})

    def _produced(self, call: Call, tokens: int) -> None:
        if tokens:
            self.seen.output_tokens += tokens
            if call.metered:
                self._world.produce(self.seen, self._quota, dict.fromkeys(call.metered, tokens))

    # -- errors

    def _refuse(self, name: str, what: Call | Problem) -> Answer:
        self.seen.outcome, self.seen.reason = "refused", name
        return self._dialect.error(name, self._stamp, what)

    def _failure(self, fault: Fault, call: Call) -> Answer:
        self.seen.reason = fault.error if fault.status is None else str(fault.status)
        if fault.status is None:
            answer = self._dialect.error(fault.error, self._stamp, call)
        else:
            answer = Answer(fault.status, fault.body, [(b"content-type", b"application/json")])
        answer.headers = [*answer.headers, *header_list(fault.headers)]
        return answer

    # -- the line

    def _headers(self) -> HeaderList:
        took_ms = round((self._world.clock.now() - self._stamp.arrived) * 1000)
        known = self._organisation.spec if self._stamp.organisation else None
        return self._dialect.headers(self._stamp, self._readings, known, took_ms)

    async def _send_answer(self, answer: Answer, *, with_headers: bool = True) -> None:
        self.seen.status = answer.status
        if with_headers:
            answer.headers = [*answer.headers, *self._headers()]
        await send_answer(self._send, answer)

    async def _start(self, status: int, headers: HeaderList) -> None:
        self.seen.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _part(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            await self._world.clock.sleep(seconds)

    async def _gone(self) -> None:
        """Return when the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _hang(self, seconds: float) -> None:
        gone = asyncio.ensure_future(self._gone())
        waits = [gone]
        if seconds:
            waits.append(asyncio.ensure_future(self._world.clock.sleep(seconds)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            self.seen.left = gone.done()
        finally:
            for wait in waits:
                wait.cancel()
        if not self.seen.left:
            await self._drop()

    async def _drop(self) -> None:
        extensions = self._scope.get("extensions")
        drop = extensions.get(DROP) if isinstance(extensions, dict) else None
        if drop is None:
            raise ConnectionDroppedError("the simulated provider broke the connection, as its fault says")
        await cast(Callable[[], Awaitable[None]], drop)()


_DATED = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8})$")
_MID_STREAM = frozenset({"drop", "stream_error", "malformed"})


def _charge(call: Call, fault: Fault | None) -> dict[str, int]:
    """What a request takes: all of it, unless a fault that answers an error makes it cheaper."""
    if fault is None or fault.kind != "error" or fault.charge == "all":
        return call.take
    one = {"requests": call.take["requests"]} if "requests" in call.take else {}
    return one if fault.charge == "requests" else {}
