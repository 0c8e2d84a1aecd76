"""Access tokens bought with a key (OAuth 2 client credentials, RFC 6749), kept for as long as they last.

One token for each key serves all its requests. It is bought anew a little before it ends, by whoever comes first, with
one request in flight; the others go on with the old one. What the token endpoint refuses is classified like any other
answer, and nothing was sent to the API itself. A token is shown nowhere, like the key it stands for.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Final
from urllib.parse import quote_plus, urlencode

from apikeyrouter.adapters.auth import OAuth
from apikeyrouter.adapters.dialect import dialect
from apikeyrouter.adapters.http import Incoming, Outgoing, Wire, WireError
from apikeyrouter.adapters.jsonhttp import USER_AGENT, UnsendableKeyError, parsed, sendable
from apikeyrouter.adapters.narrow import mapping, text
from apikeyrouter.adapters.signing import id_and_secret
from apikeyrouter.core.classify import classify
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.locks import new_lock
from apikeyrouter.ports import SecretSource

FETCH_S: Final = 10.0
"""A token endpoint that takes longer does not answer."""
EARLY_S: Final = 60.0
EARLY_SHARE: Final = 0.2
"""A token is renewed so long before its end, or in the last fifth of a short life."""
AGAIN_S: Final = 5.0
"""After a renewal that failed the old token serves on, and the next attempt waits this long."""
MOST_KEPT: Final = 10_000


class Token:
    """A token and its times in epoch seconds; it prints stars."""

    __slots__ = ("_text", "ends_at", "renew_at")

    def __init__(self, value: str, renew_at: float, ends_at: float) -> None:
        self._text = value
        self.renew_at = renew_at
        self.ends_at = ends_at

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Token('*****')"


class Tokens:
    """The tokens of one provider's keys. `now` gives epoch seconds; safe from several loops and threads."""

    def __init__(self, plan: OAuth, wire: Wire, now: Callable[[], float]) -> None:
        self._plan = plan
        self._wire = wire
        self._now = now
        self._lock = new_lock()
        self._held: dict[str, Token] = {}
        self._flights: dict[str, Future[Token | Failure]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def held(self, key: SecretSource) -> Token | None:
        """The key's token, if there is one that has not ended."""
        found = self._held.get(_name(key))
        return found if found is not None and self._now() < found.ends_at else None

    async def get(self, key: SecretSource, timeout: float, *, refused: Token | None = None) -> Token:
        """A token of the key, other than the one that was `refused`, within `timeout` seconds. Raises WireError."""
        name = _name(key)
        with self._lock:
            held = self._usable(name, refused)
            if held is not None and self._now() < held.renew_at:
                return held
            flight = self._flights.get(name)
            if flight is None:
                flight = self._start(name, key)
            elif held is not None:
                return held
        try:
            bought = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(flight)), timeout)
        except TimeoutError:
            bought = Failure(kind=Kind.TIMEOUT, message="no token came within the request's time", sent=False)
        if isinstance(bought, Token):
            return bought
        if held is None:
            raise WireError(bought)
        held.renew_at = self._now() + AGAIN_S
        return held

    def _usable(self, name: str, refused: Token | None) -> Token | None:
        held = self._held.get(name)
        if held is not None and (held is refused or self._now() >= held.ends_at):
            del self._held[name]
            return None
        return held

    def _start(self, name: str, key: SecretSource) -> Future[Token | Failure]:
        flight: Future[Token | Failure] = Future()
        self._flights[name] = flight
        task = asyncio.get_running_loop().create_task(self._buy(name, key, flight))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return flight

    async def _buy(self, name: str, key: SecretSource, flight: Future[Token | Failure]) -> None:
        """Who started it may go away; the others still get what comes."""
        got: Token | Failure = Failure(kind=Kind.CANCELLED, message="buying a token was broken off", sent=False)
        try:
            got = await self._fetch(key)
        except UnsendableKeyError as error:
            got = Failure(kind=Kind.UNAUTHENTICATED, message=error.message, sent=False)
        finally:
            with self._lock:
                del self._flights[name]
                if isinstance(got, Token):
                    self._keep(name, got)
            flight.set_result(got)

    def _keep(self, name: str, token: Token) -> None:
        self._held.pop(name, None)
        self._held[name] = token
        while len(self._held) > MOST_KEPT:
            del self._held[next(iter(self._held))]

    async def _fetch(self, key: SecretSource) -> Token | Failure:
        client, secret = (self._plan.client_id, sendable(key)) if self._plan.client_id else id_and_secret(key)
        incoming = await self._wire.send(self._request(client, secret), FETCH_S)
        if incoming.failure is not None:
            return _unsent(incoming.failure, "the token endpoint failed")
        raw = parsed(incoming.content)
        if incoming.status is not None and 200 <= incoming.status < 300:
            found = self._token(raw)
            if found is not None:
                return found
        return _refusal(incoming, raw, secret, self._now())

    def _request(self, client: str, secret: str) -> Outgoing:
        plan = self._plan
        form = {"grant_type": "client_credentials", **({"scope": plan.scope} if plan.scope else {}), **plan.params}
        headers = [
            (b"content-type", b"application/x-www-form-urlencoded"),
            (b"accept", b"application/json"),
            (b"accept-encoding", b"gzip, deflate"),
            USER_AGENT,
        ]
        if plan.client == "basic":
            pair = f"{quote_plus(client)}:{quote_plus(secret)}".encode()
            headers.append((b"authorization", b"Basic " + base64.b64encode(pair)))
        else:
            form |= {"client_id": client, "client_secret": secret}
        return Outgoing(method="POST", url=plan.token_url, headers=headers, content=urlencode(form).encode())

    def _token(self, raw: object) -> Token | None:
        answer = mapping(raw)
        value = text(answer.get("access_token"))
        if not value or not value.isascii() or not value.isprintable() or " " in value:
            return None
        if text(answer.get("token_type") or "bearer").lower() != "bearer":
            return None
        lasts = _seconds(answer.get("expires_in")) or self._plan.lifetime_s
        now = self._now()
        return Token(value, now + lasts - min(EARLY_S, EARLY_SHARE * lasts), now + lasts)

    async def aclose(self) -> None:
        """Forget every token, break off what is being bought."""
        for task in tuple(self._tasks):
            task.get_loop().call_soon_threadsafe(task.cancel)
        self._held.clear()
        await self._wire.aclose()


def _name(key: SecretSource) -> str:
    return hashlib.sha256(key.reveal().encode()).hexdigest()


def _seconds(value: object) -> float | None:
    """`expires_in`, which some write as a text."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 10**9:
        return None
    return float(value)


def _refusal(incoming: Incoming, raw: object, secret: str, now: float) -> Failure:
    table = dialect("oauth2").errors
    return _unsent(
        classify(table, incoming.status, incoming.headers, raw, now=now, secret=secret),
        "the token endpoint gave no token",
    )


def _unsent(failure: Failure, what: str) -> Failure:
    """To the API itself nothing was sent, whatever became of the purchase."""
    return replace(failure, message=f"{what}: {failure.message}", sent=False, billed=False)
