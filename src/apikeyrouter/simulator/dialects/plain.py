"""An ordinary HTTP API with keys, prices and quotas: geocoding, search and text messages. No tokens, no models.

    GET  /geo/v1/geocode?q=      GET  /search/v1/query?q=      POST /sms/v1/messages {"to": ..., "text": ...}

The key comes as `X-Api-Key`, bearer, basic (as the user name) or `?key=`. Windows are the account's per service (`geo`,
`search`, `sms`). A window shorter than a day answers 429; a spent day or month answers 403 with `"code": "quota"`, as
many such APIs do. Every answer names its price.

Headers, by the organisation's `headers`: `ietf` (draft-ietf-httpapi-ratelimit-headers-11: RateLimit, RateLimit-Policy),
`ietf-old` (RateLimit-Limit, -Remaining, -Reset in seconds), `x` (X-RateLimit-*, seconds), `x-epoch` (reset as a date in
seconds since the epoch), `none`.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterator, Sequence
from email.utils import formatdate
from urllib.parse import parse_qsl
from zlib import crc32

from apikeyrouter.simulator.clock import NS
from apikeyrouter.simulator.dialect import Call, Piece, Problem
from apikeyrouter.simulator.spec import Model, Organisation
from apikeyrouter.simulator.state import Reading, Refusal
from apikeyrouter.simulator.window import NEVER
from apikeyrouter.simulator.wire import Answer, HeaderList, Json, Request, json_answer, text
from apikeyrouter.simulator.words import answer_text, opaque_id
from apikeyrouter.simulator.world import Stamp

__all__ = ["Plain"]

_PATHS = {
    ("GET", "/geo/v1/geocode"): ("geocode", "geo"),
    ("GET", "/search/v1/query"): ("search", "search"),
    ("POST", "/sms/v1/messages"): ("message", "sms"),
}
_DAY_NS = 86_400 * NS


class Plain:
    """See the module's docstring."""

    name = "plain"
    models: tuple[Model, ...] = tuple(Model(name=service, dialect="plain") for service in ("geo", "search", "sms"))

    def claims(self, request: Request) -> bool:
        return request.path.startswith(("/geo/", "/search/", "/sms/"))

    def material(self, request: Request) -> str:
        found = request.headers.get("x-api-key") or request.bearer() or _basic(request)
        params = request.params() if not found and request.query else {}
        return found or params.get("key") or params.get("api_key", "")

    def read(self, request: Request, organisation: Organisation, default_max_output: int) -> Call | Problem:
        operation, service = _PATHS.get((request.method, request.path), ("", ""))
        if not operation:
            return Problem("not_found", f"{request.method} {request.path}")
        asked: dict[str, Json] = {**request.params()}
        if operation == "message":
            asked |= request.json() or dict(parse_qsl(request.body.decode("utf-8", "replace")))
        missing = [name for name in (("to", "text") if operation == "message" else ("q",)) if not text(asked.get(name))]
        if missing:
            return Problem("bad_request", f"parameter {missing[0]!r} is missing", service, operation)
        return Call(operation, service, asked, take={"requests": 1})

    def answer(self, call: Call, stamp: Stamp, organisation: Organisation) -> Answer:
        shown: dict[str, Json] = {"price": _dollars(organisation.price_nano), "currency": "USD"}
        if call.operation == "message":
            sent: dict[str, Json] = {
                "id": opaque_id("msg_", stamp.request_id),
                "status": "queued",
                "to": call.body["to"],
            }
            return json_answer(202, {**sent, **shown})
        return json_answer(200, {**_FOUND[call.operation](text(call.body["q"])), **shown})

    def pieces(self, call: Call, stamp: Stamp, chunk_tokens: int) -> Iterator[Piece]:
        return iter(())

    def stream_headers(self, call: Call) -> HeaderList:
        return []

    def headers(
        self, stamp: Stamp, readings: Sequence[Reading], organisation: Organisation | None, took_ms: int
    ) -> HeaderList:
        style = _STYLES.get(organisation.headers) if organisation else None
        found: HeaderList = [(b"x-request-id", stamp.request_id.encode())]
        return found + style(readings, stamp) if style and readings else found

    def throttled(self, call: Call, stamp: Stamp, refusal: Refusal, organisation: Organisation) -> Answer:
        wait_s = -(-refusal.wait_ns // NS) if refusal.wait_ns != NEVER else 0
        again = formatdate(stamp.arrived + wait_s, usegmt=True) if organisation.retry_after == "date" else str(wait_s)
        retry: HeaderList = [(b"retry-after", again.encode())] if wait_s and organisation.retry_after != "none" else []
        limit, name = refusal.reading.limit, refusal.reading.name
        if refusal.reading.per_ns >= _DAY_NS:
            return _error(403, "quota", f"The quota of {limit} requests ({name}) is used up.", [])
        return _error(429, "rate_limited", f"At most {limit} requests ({name}); try again in {wait_s} s.", retry)

    def error(self, name: str, stamp: Stamp, call: Call | Problem) -> Answer:
        status, code, message = _ERRORS.get(name, _ERRORS["server_error"])
        return _error(status, code, message.format(text=call.text if isinstance(call, Problem) else ""), [])

    def stream_error(self, name: str, stamp: Stamp) -> bytes:
        return b""


_ERRORS = {
    "no_key": (401, "unauthorized", "No API key was given."),
    "invalid_key": (401, "unauthorized", "The API key is not valid."),
    "permission": (403, "forbidden", "This API key may not use this service."),
    "not_found": (404, "not_found", "There is no {text}."),
    "bad_request": (400, "bad_request", "The request cannot be understood: {text}."),
    "model_not_found": (403, "forbidden", "This account has no access to this service."),
    "context_length": (413, "too_large", "The request is too large."),
    "unpaid": (402, "payment_required", "The account has no credit."),
    "spend_limit": (403, "quota", "The account's spend limit is reached."),
    "server_error": (500, "internal", "Something went wrong."),
    "overloaded": (503, "unavailable", "The service is overloaded."),
    "timeout": (504, "timeout", "The service took too long."),
}


def _error(status: int, code: str, message: str, headers: HeaderList) -> Answer:
    return json_answer(status, {"code": code, "message": message}, headers)


def _basic(request: Request) -> str:
    scheme, _, packed = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        user, _, password = b64decode(packed).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return user or password


def _dollars(nano: int) -> str:
    """Nano-dollars as a decimal number of dollars without needless zeros."""
    return f"{nano // 10**9}.{nano % 10**9:09d}".rstrip("0").rstrip(".")


def _geocode(query: str) -> dict[str, Json]:
    spot = crc32(query.encode())
    place: Json = {"lat": spot % 180_000 / 1000 - 90, "lon": spot // 180_000 % 360_000 / 1000 - 180}
    return {"query": query, "results": [{"formatted": query, "geometry": place, "confidence": 9}]}


def _search(query: str) -> dict[str, Json]:
    hits: list[Json] = [
        {
            "rank": rank,
            "title": answer_text(4, f"{query}{rank}").strip(),
            "url": f"https://example.com/{crc32(query.encode())}/{rank}",
        }
        for rank in (1, 2, 3)
    ]
    return {"query": query, "hits": hits}


_FOUND = {"geocode": _geocode, "search": _search}


def _seconds(ns: int) -> int:
    return -(-ns // NS)


def _tightest(readings: Sequence[Reading]) -> Reading:
    return min(readings, key=lambda reading: reading.remaining)


def _ietf(readings: Sequence[Reading], stamp: Stamp) -> HeaderList:
    policies = ", ".join(f'"{r.name}";q={r.limit};w={r.per_ns // NS}' for r in readings)
    levels = ", ".join(f'"{r.name}";r={r.remaining};t={_seconds(r.reset_ns)}' for r in readings)
    return [(b"ratelimit-policy", policies.encode()), (b"ratelimit", levels.encode())]


def _ietf_old(readings: Sequence[Reading], stamp: Stamp) -> HeaderList:
    tightest = _tightest(readings)
    return _three(b"ratelimit-", tightest, _seconds(tightest.reset_ns))


def _x(readings: Sequence[Reading], stamp: Stamp) -> HeaderList:
    tightest = _tightest(readings)
    return _three(b"x-ratelimit-", tightest, _seconds(tightest.reset_ns))


def _x_epoch(readings: Sequence[Reading], stamp: Stamp) -> HeaderList:
    tightest = _tightest(readings)
    return _three(b"x-ratelimit-", tightest, stamp.created + _seconds(tightest.reset_ns))


def _three(prefix: bytes, reading: Reading, reset: int) -> HeaderList:
    return [
        (prefix + b"limit", b"%d" % reading.limit),
        (prefix + b"remaining", b"%d" % reading.remaining),
        (prefix + b"reset", b"%d" % reset),
    ]


_STYLES = {"ietf": _ietf, "ietf-old": _ietf_old, "x": _x, "x-epoch": _x_epoch}
