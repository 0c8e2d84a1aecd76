"""What stands before many real APIs, here before the simulator's plain ones: tokens, signatures, a memory for repeats.

A `Gate` is served in the simulator's place. It sells tokens for client credentials at `/oauth/token`, takes them
(or signed requests, if `signed`) instead of keys, and gives a repeated `Idempotency-Key` its first answer.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import parse_qsl, unquote_plus

from apikeyrouter.simulator import SimulatorApp, World
from apikeyrouter.simulator.turn import DROP, send_answer
from apikeyrouter.simulator.wire import (
    Answer,
    HeaderList,
    Message,
    Receive,
    Scope,
    Send,
    header_map,
    json_answer,
    read_body,
)

LIFETIME_S = 600.0


@dataclass(slots=True)
class Sold:
    """A token: whose it is, and until when it opens the door."""

    key: str
    ends_at: float


@dataclass(slots=True)
class Record:
    """What the gate has seen. `answers` are the next answers of the token endpoint instead of a token.

    So many of the next answers to marked requests `get_lost` on their way, after the work was done.
    """

    sold: dict[str, Sold] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    get_lost: int = 0
    first_answers: dict[tuple[str, str], list[Message]] = field(default_factory=dict)


class Gate(SimulatorApp):
    """See the module's docstring. `record` is what happened, in order."""

    def __init__(self, world: World, *, signed: bool = False) -> None:
        super().__init__(world)
        self.record = Record()
        self.signed = signed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        body = await read_body(receive) or b""
        headers = header_map(_raw(scope))
        if scope["path"] == "/oauth/token":
            await send_answer(send, self._sell(headers, body))
            return
        key = self._signer(scope, headers, body) if self.signed else self._bearer(headers)
        if key is None:
            await send_answer(send, json_answer(401, {"code": "unauthorized", "message": "Who are you?"}))
            return
        inside = [(name, value) for name, value in _raw(scope) if name != b"authorization"]
        inside.append((b"x-api-key", self.world.secret(key).encode()))
        mark = headers.get("idempotency-key", "")
        await self._once(key, mark, {**scope, "headers": inside}, body, send)

    # -- tokens

    def _sell(self, headers: dict[str, str], body: bytes) -> Answer:
        form = dict(parse_qsl(body.decode()))
        client, secret = _client(headers, form)
        self.record.asked.append(client)
        if self.record.answers:
            return self.record.answers.pop(0)
        if form.get("grant_type") != "client_credentials":
            return json_answer(400, {"error": "unsupported_grant_type"})
        if client not in self.world.keys or self.world.secret(client) != secret:
            return json_answer(401, {"error": "invalid_client", "error_description": f"no client has {secret}"})
        token = f"token-{len(self.record.asked)}-of-{client}"
        self.record.sold[token] = Sold(client, self.world.clock.now() + LIFETIME_S)
        return json_answer(200, {"access_token": token, "token_type": "bearer", "expires_in": LIFETIME_S})

    def void(self) -> None:
        """Every token sold so far opens nothing any more."""
        self.record.sold.clear()

    # -- the door

    def _bearer(self, headers: dict[str, str]) -> str | None:
        sold = self.record.sold.get(headers.get("authorization", "").removeprefix("Bearer "))
        return sold.key if sold is not None and self.world.clock.now() < sold.ends_at else None

    def _signer(self, scope: Scope, headers: dict[str, str], body: bytes) -> str | None:
        key = headers.get("x-key-id", "")
        at = headers.get("x-timestamp", "")
        if key not in self.world.keys or not at.isdigit() or abs(self.world.clock.now() - int(at)) > 30:
            return None
        query = cast(bytes, scope.get("query_string", b"")).decode()
        target = f"{scope['path']}?{query}" if query else f"{scope['path']}"
        said = f"{at}\n{scope['method']}\n{target}\n".encode() + body
        right = hmac.new(self.world.secret(key).encode(), said, hashlib.sha256).hexdigest()
        return key if hmac.compare_digest(headers.get("x-signature", ""), right) else None

    # -- repeats

    async def _once(self, key: str, mark: str, scope: Scope, body: bytes, send: Send) -> None:
        if mark:
            self.record.marks.append(mark)
        said = self.record.first_answers.get((key, mark)) if mark else None
        if said is None:
            said = await self._inside(scope, body)
            if mark and cast(int, said[0]["status"]) < 400:
                self.record.first_answers[key, mark] = said
        if mark and self.record.get_lost:
            self.record.get_lost -= 1
            extensions = cast("dict[str, Callable[[], Awaitable[None]]]", scope["extensions"])
            await extensions[DROP]()
            return
        for message in said:
            await send(message)

    async def _inside(self, scope: Scope, body: bytes) -> list[Message]:
        said: list[Message] = []

        async def hear(message: Message) -> None:
            said.append(message)

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        await super().__call__(scope, receive, hear)
        return said


def _client(headers: dict[str, str], form: dict[str, str]) -> tuple[str, str]:
    packed = headers.get("authorization", "").removeprefix("Basic ")
    if not packed:
        return form.get("client_id", ""), form.get("client_secret", "")
    name, _, secret = base64.b64decode(packed).decode().partition(":")
    return unquote_plus(name), unquote_plus(secret)


def _raw(scope: Scope) -> HeaderList:
    return cast(HeaderList, scope["headers"])
