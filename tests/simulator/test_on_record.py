"""A request is on record when its answer has been read: nobody who looks it up then has to wait for the server."""

from __future__ import annotations

import httpx
import pytest

from apikeyrouter.simulator import Organisation, SimulatorApp, World, limits
from apikeyrouter.simulator.spec import Latency
from apikeyrouter.simulator.wire import Message, Receive, Scope, Send


class Looking:
    """The simulator, with what is on record whenever a piece of a body is sent."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.app = SimulatorApp(world)
        self.sent: list[tuple[bytes, int]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noted(message: Message) -> None:
            if message["type"] == "http.response.body":
                body = message.get("body")
                assert isinstance(body, bytes)
                self.sent.append((body, len(self.world.record.all())))
            await send(message)

        await self.app(scope, receive, noted)


async def asked(latency: Latency, **body: object) -> Looking:
    world = World([Organisation(id="o", keys=("a1",), limits=limits(rpm=2), latency=latency)])
    looking = Looking(world)
    sent = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20, **body}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=looking), base_url="http://sim") as client:
        headers = {"authorization": f"Bearer {world.secret('a1')}"}
        await client.post("/v1/chat/completions", headers=headers, json=sent)
    assert len(world.record.all()) == 1
    return looking


@pytest.mark.parametrize("body", [{}, {"stream": True}, {"model": "no-such-model"}])
async def test_an_answer_is_on_record_before_its_last_byte(body: dict[str, object]) -> None:
    looking = await asked(Latency(first_s=0.0, per_token_s=0.0), **body)
    assert [count for data, count in looking.sent if data][-1] == 1


async def test_a_stream_in_pieces_is_on_record_with_its_last_and_not_before() -> None:
    looking = await asked(Latency(first_s=0.0, per_token_s=1e-6), stream=True)
    counts = [count for data, count in looking.sent if data]
    assert counts[-1] == 1
    assert set(counts[:-1]) == {0}
    assert looking.world.record.all()[0].output_tokens == 20
