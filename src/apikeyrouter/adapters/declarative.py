"""Any HTTP API, described by configuration instead of code: addresses, key, errors, cost and quota headers as data.

A body's values fill the operation's path, parameters and body template. Rules may also name a 2xx as a failure
(`{status: 200, body: {path: $.status, equals: OVER_QUERY_LIMIT}, means: rate_limited}`), since many APIs do. A key may
be sent as it is, sign the request, or buy a token first: one that was refused is bought anew once, then it is the key.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final, Protocol, TypeVar, cast
from urllib.parse import quote, urlencode

from apikeyrouter.adapters.base import ListStream
from apikeyrouter.adapters.dialect import tells_limits
from apikeyrouter.adapters.http import Incoming, Opened, Outgoing, RawHeaders, Transport, Wire, WireError, WireOptions
from apikeyrouter.adapters.jsonhttp import (
    USER_AGENT,
    EventReader,
    EventStream,
    HTTPAdapter,
    encoded,
    header,
    raw_headers,
    secret_header,
    sendable,
)
from apikeyrouter.adapters.narrow import NOTHING, items, without
from apikeyrouter.adapters.passing import PassingReader, PassingStream, is_event_stream, shown
from apikeyrouter.adapters.plan import Operation, Plan, read_plan
from apikeyrouter.adapters.rules import Problems
from apikeyrouter.adapters.settings import wire_settings
from apikeyrouter.adapters.signing import Signer, Signing, proof_of, signer_named
from apikeyrouter.adapters.template import fill, fill_path, plain
from apikeyrouter.adapters.tokens import Token, Tokens
from apikeyrouter.adapters.usage import decimal, read_usage
from apikeyrouter.core.classify import refused
from apikeyrouter.core.failure import Failure, Kind
from apikeyrouter.core.jsonpath import first
from apikeyrouter.core.model import Capabilities, Usage, dollars
from apikeyrouter.errors import InvalidRequestError
from apikeyrouter.ports import Answer, Body, Call, ChunkStream, Headers, SecretSource

_ROUTING_WORDS: Final = frozenset({"model", "stream"})
_BASE: Final[RawHeaders] = [(b"accept-encoding", b"gzip, deflate"), USER_AGENT]
_ACCEPTS: Final = {"json": b"application/json", "sse": b"text/event-stream"}
_TYPES: Final = {"json": b"application/json", "form": b"application/x-www-form-urlencoded"}
_MAY_BE_EMPTY: Final = frozenset({201, 202, 204, 205})
_IN_QUERY: Final = frozenset({"GET", "HEAD", "DELETE"})


class _Tried(Protocol):
    failure: Failure | None


T = TypeVar("T", bound=_Tried)


class DeclarativeAdapter(HTTPAdapter):
    """A provider from its configuration (reference: `providers:`, adapter `http`).

    `settings` is the provider's mapping, `where` its place in the file for sentences about mistakes; further keyword
    arguments are settings too. Raises InvalidConfigurationError with every mistake.
    """

    def __init__(
        self,
        settings: Mapping[str, object] = NOTHING,
        /,
        *,
        where: str = "provider",
        clock: Callable[[], float] = time.time,
        transport: Transport | None = None,
        **more: object,
    ) -> None:
        given = {**settings, **more}
        self.plan: Plan = read_plan(given, where)
        options = cast("WireOptions", {**wire_settings(given, where, Problems([])), "transport": transport})
        super().__init__(Wire(self.plan.base_url, **options), speech=self.plan.speech, clock=clock)
        self._tokens = self._token_store(options)
        self._signer: Signer | None = self.plan.auth.hmac or signer_named(self.plan.auth.name)
        health = self.plan.operations.get(self.plan.health or "")
        self.probe_operation = health.name if health is not None and health.counts else ""
        told = tells_limits(self.plan.speech) if {"limits_from", "limit_headers"} & given.keys() else frozenset[str]()
        streams = any(operation.stream for operation in self.plan.operations.values())
        self.capabilities = Capabilities(
            features=told | ({"streaming"} if streams else frozenset()),
            operations=frozenset(self.plan.operations),
            custom=MappingProxyType(_custom(self.plan)),
        )

    def _token_store(self, options: WireOptions) -> Tokens | None:
        plan = self.plan.auth.oauth
        return None if plan is None else Tokens(plan, Wire(plan.token_url, **options), lambda: self.clock())

    async def send(self, call: Call) -> Answer:
        """One attempt, whole; see Adapter."""
        if self._tokens is None:
            return await super().send(call)
        return await self._with_token(
            call, self._tokens, super().send, lambda failure: Answer(status=None, failure=failure)
        )

    async def stream(self, call: Call) -> ChunkStream:
        """One attempt, as it comes; see Adapter."""
        if self._tokens is None:
            return await super().stream(call)
        return await self._with_token(call, self._tokens, super().stream, _unopened)

    async def _with_token(
        self, call: Call, tokens: Tokens, go: Callable[[Call], Awaitable[T]], instead: Callable[[Failure], T]
    ) -> T:
        """Try with the key's token; one from before that is refused may have been withdrawn, so it is bought anew."""
        loop = asyncio.get_running_loop()
        end, known = loop.time() + call.timeout, tokens.held(call.secret)
        try:
            token = await tokens.get(call.secret, call.timeout)
            tried = await go(_by_token(call, token, end - loop.time()))
            if tried.failure is None or tried.failure.kind is not Kind.UNAUTHENTICATED or token is not known:
                return tried
            token = await tokens.get(call.secret, end - loop.time(), refused=token)
        except WireError as broken:
            return instead(broken.failure)
        return await go(_by_token(call, token, end - loop.time()))

    def prepare(self, call: Call, *, streaming: bool) -> Outgoing:
        """The request of a call; see Adapter."""
        self.check(call.operation, call.body)
        operation = self.plan.operations[call.operation]
        values = {**without(call.body, _ROUTING_WORDS), **_model(call)}
        pairs, content = _query_and_content(operation, values)
        own = self._headers(operation, values, _ACCEPTS.get(operation.stream if streaming else operation.answer))
        if content:
            own.append((b"content-type", _TYPES[operation.encoding]))
        if operation.idempotency:
            own.append(header(operation.idempotency, call.idempotency_key or call.request_id))
        self._authenticate(call.secret, own, pairs)
        url = self.wire.base_url + fill_path(operation.path, values)
        outgoing = Outgoing(
            method=operation.method,
            url=f"{url}?{urlencode(pairs, quote_via=quote)}" if pairs else url,
            headers=own,
            content=content,
            keep_url=not pairs and "{" not in operation.path,
        )
        self._sign(call.secret, outgoing)
        outgoing.headers = raw_headers(call.headers, own)
        return outgoing

    def _headers(self, operation: Operation, values: Mapping[str, object], accept: bytes | None) -> RawHeaders:
        """The configured headers before our own, which they replace."""
        filled = {name: plain(fill(value, values), name) for name, value in operation.headers.items()}
        given = dict(header(name, value) for name, value in {**self.plan.headers, **filled}.items())
        return list({b"accept": accept or b"*/*", **dict(_BASE), **given}.items())

    def _authenticate(self, secret: SecretSource, headers: RawHeaders, pairs: list[tuple[str, str]]) -> None:
        auth = self.plan.auth
        if auth.kind in ("bearer", "oauth2"):
            headers.append(secret_header("authorization", auth.prefix or "Bearer ", secret))
        elif auth.kind == "header":
            headers.append(secret_header(auth.name.lower(), auth.prefix, secret))
        elif auth.kind == "basic":
            pair = base64.b64encode(f"{auth.name}:{sendable(secret)}".encode())
            headers.append((b"authorization", b"Basic " + pair))
        elif auth.kind == "query":
            pairs.append((auth.name, sendable(secret)))

    def _sign(self, secret: SecretSource, outgoing: Outgoing) -> None:
        if self._signer is None:
            return
        sendable(secret)
        request = Signing(
            method=outgoing.method,
            url=outgoing.url,
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in outgoing.headers},
            body=outgoing.content,
            secret=secret,
            now=self.clock(),
            nonce=secrets.token_hex(16),
        )
        proof = proof_of(self._signer, self.plan.auth.name or "hmac", request)
        outgoing.headers.extend(header(name, value) for name, value in proof.items())

    def events(self, call: Call) -> EventReader | None:
        """A reader for an operation that streams."""
        operation = self.plan.operations.get(call.operation)
        if operation is None or not operation.stream:
            return None

        def failed(name: str, raw: object) -> Failure | None:
            if name != "error" and not self.is_error(200, {}, raw):
                return None
            return self.classified(200, {}, raw, call.secret.reveal())

        def read(raw: object) -> tuple[str, Usage | None]:
            told = raw if isinstance(raw, str) else first(operation.content, raw) if operation.content else ""
            return shown(told), self._stream_usage(operation, raw)

        return PassingReader(failed, read, operation.ends)

    def _stream_usage(self, operation: Operation, raw: object) -> Usage | None:
        """What an event says was used; None where neither it nor the configuration says anything."""
        usage = self.usage(operation.name, raw)
        return None if usage == Usage() else usage

    def follow(self, call: Call, opened: Opened, reader: EventReader) -> ChunkStream | None:
        """Pieces of any body, or the events of a stream of events; see HTTPAdapter."""
        operation = self.plan.operations[call.operation]
        if operation.stream == "bytes" and 200 <= opened.status < 300:
            return PassingStream(opened, self._stream_usage(operation, None))
        return EventStream(opened, reader) if is_event_stream(opened.status, opened.headers) else None

    def read_answer(self, call: Call, answer: Answer, incoming: Incoming) -> Answer:
        """An answer as JSON, as text, or none at all (204)."""
        operation = self.plan.operations[call.operation]
        if incoming.status is not None and 200 <= incoming.status < 300:
            if operation.answer in ("text", "bytes"):
                return self._plain(operation, answer, incoming.content)
            if operation.answer == "none" or (incoming.status in _MAY_BE_EMPTY and not incoming.content.strip()):
                answer.usage = self.usage(call.operation, None)
                return answer
        return super().read_answer(call, answer, incoming)

    def _plain(self, operation: Operation, answer: Answer, content: bytes) -> Answer:
        said = content if operation.answer == "bytes" else content.decode("utf-8", "replace")
        answer.raw = answer.body = answer.content = said
        answer.usage = self.usage(operation.name, None)
        return answer

    def is_error(self, status: int, headers: Headers, raw: object) -> bool:
        """Only the configuration knows which success is a failure."""
        return not 200 <= status < 300 or refused(self.speech.errors, status, headers, raw)

    def usage(self, operation: str, raw: object) -> Usage | None:
        """One request, the tokens the configured paths find, and what the answer or the configuration says it cost."""
        plan = self.plan.operations.get(operation)
        counted = read_usage(self.speech.usage, raw) or Usage()
        if plan is None:
            return counted
        stated = decimal(first(plan.cost.path, raw)) if plan.cost.path is not None else None
        if stated is None and plan.cost.per_request is not None:
            stated = dollars(plan.cost.per_request)
        return counted if stated is None else replace(counted, cost_reported=stated)

    def content(self, operation: str, body: object) -> object:
        """The part that the operation's `content` path names; by default the whole answer."""
        plan = self.plan.operations.get(operation)
        return body if plan is None or not plan.content else first(plan.content, body)

    def estimate_cost(self, operation: str, body: Body) -> int | None:
        """Nano-dollars of one request, where the configuration states them."""
        plan = self.plan.operations.get(operation)
        return plan.cost.per_request if plan is not None else None

    async def probe(self, secret: SecretSource, timeout: float) -> Failure | None:
        """How the configured health operation fails; None where none is configured."""
        if self.plan.health is None:
            return None
        call = Call(operation=self.plan.health, model="", body={}, secret=secret, timeout=timeout, request_id="probe")
        return (await self.send(call)).failure

    async def aclose(self) -> None:
        """Close the connections and forget the tokens."""
        if self._tokens is not None:
            await self._tokens.aclose()
        await super().aclose()


def _unanswered(failure: Failure) -> Answer:
    return Answer(status=None, failure=failure)


def _unopened(failure: Failure) -> ChunkStream:
    return ListStream(status=None, failure=failure)


def _by_token(call: Call, token: Token, left: float) -> Call:
    return replace(call, secret=token, timeout=max(0.001, left))


def _custom(plan: Plan) -> dict[str, object]:
    """What routing may want to know of each operation: may it be repeated, and where; has it limits of its own."""
    operations = plan.operations
    return {
        "idempotent": frozenset(name for name, operation in operations.items() if operation.idempotent),
        "marked": frozenset(name for name, operation in operations.items() if operation.idempotency),
        "limits": {name: operation.limits for name, operation in operations.items() if operation.limits},
    }


def _model(call: Call) -> dict[str, object]:
    return {"model": call.model} if call.model else {}


def _query_and_content(operation: Operation, values: Mapping[str, object]) -> tuple[list[tuple[str, str]], bytes]:
    """Where each value goes: placed ones where they are placed, the rest into the query or the body by the method."""
    rest = without(values, operation.placed | {"model"})
    pairs = _pairs(fill(operation.params, values)) if operation.params is not None else []
    if operation.body is not None:
        _none_left(rest, operation)
        return pairs, _content(operation, fill(operation.body, values))
    if operation.method in _IN_QUERY:
        if operation.params is not None:
            _none_left(rest, operation)
        return pairs + (_pairs(rest) if operation.params is None else []), b""
    return pairs, _content(operation, rest)


def _none_left(rest: Mapping[str, object], operation: Operation) -> None:
    if rest:
        known = ", ".join(sorted(operation.placed)) or "none"
        raise InvalidRequestError(f"'{next(iter(rest))}' is no value of operation '{operation.name}'; it takes {known}")


def _pairs(filled: object) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in cast("Mapping[str, object]", filled).items():
        if value is not None:
            several = items(value) if isinstance(value, list | tuple) else [value]
            found.extend((name, plain(one, name)) for one in several)
    return found


def _content(operation: Operation, body: object) -> bytes:
    if operation.encoding == "form":
        return urlencode(_pairs(body)).encode("ascii")
    return encoded(body)
