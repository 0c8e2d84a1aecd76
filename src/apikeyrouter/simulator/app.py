"""The ASGI application: which dialect a path belongs to, and the control endpoint. No framework, nothing but routing.

In process: `httpx.AsyncClient(transport=httpx.ASGITransport(app=SimulatorApp(world)), base_url="http://sim")`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from apikeyrouter.simulator import control
from apikeyrouter.simulator.dialect import Dialect
from apikeyrouter.simulator.dialects import ALL
from apikeyrouter.simulator.turn import Turn, send_answer
from apikeyrouter.simulator.wire import Receive, Request, Scope, Send, header_map, json_answer, read_body
from apikeyrouter.simulator.world import World

__all__ = ["SimulatorApp"]


class SimulatorApp:
    """Serves a world. A path may start with a dialect's name: `/openai/v1/models` is not Anthropic's."""

    def __init__(self, world: World, dialects: Sequence[Dialect] = ALL) -> None:
        self.world = world
        self._dialects = tuple(dialects)
        self._by_prefix = {f"/{dialect.name}/": dialect for dialect in dialects}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive)
        if body is None:
            await send_answer(send, json_answer(413, {"error": {"message": "The body is too large or incomplete."}}))
            return
        request, dialect = self._read(scope, body)
        if request.path.startswith("/_sim"):
            await send_answer(send, control.answer(self.world, request))
        elif dialect is not None:
            await Turn(self.world, dialect, request, scope, receive, send).run()
        else:
            await send_answer(send, json_answer(404, {"error": {"message": f"No such path: {request.path}"}}))

    def _read(self, scope: Scope, body: bytes) -> tuple[Request, Dialect | None]:
        path = cast(str, scope["path"])
        prefix = path[: path.find("/", 1) + 1]
        dialect = self._by_prefix.get(prefix)
        request = Request(
            method=cast(str, scope["method"]),
            path=path if dialect is None else path[len(prefix) - 1 :],
            query=cast(bytes, scope.get("query_string", b"")).decode("latin-1"),
            headers=header_map(cast("list[tuple[bytes, bytes]]", scope["headers"])),
            body=body,
        )
        return request, dialect or next((d for d in self._dialects if d.claims(request)), None)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
