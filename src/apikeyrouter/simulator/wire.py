"""Requests and answers as plain bytes, and the few safe ways to look into parsed JSON. No framework, no validation.

A dialect gets a Request and gives an Answer; it never touches a socket. Only `turn.py` and `app.py` speak ASGI.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import parse_qsl

__all__ = [
    "Answer",
    "HeaderList",
    "Json",
    "Receive",
    "Request",
    "Scope",
    "Send",
    "dumps",
    "items",
    "json_answer",
    "obj",
    "read_body",
    "text",
    "whole",
]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
HeaderList: TypeAlias = list[tuple[bytes, bytes]]
Scope: TypeAlias = MutableMapping[str, object]
Message: TypeAlias = MutableMapping[str, object]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_JSON = (b"content-type", b"application/json")
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode
MAX_BODY = 32 * 1024 * 1024


@dataclass(slots=True)
class Request:
    """One HTTP request; header names in lower case, the path without a dialect's prefix."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    def params(self) -> dict[str, str]:
        return dict(parse_qsl(self.query, keep_blank_values=True))

    def json(self) -> dict[str, Json] | None:
        """The body as an object, or None when it is not one."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def bearer(self) -> str:
        """The material in `Authorization: Bearer`, or an empty string."""
        scheme, _, material = self.headers.get("authorization", "").partition(" ")
        return material.strip() if scheme.lower() == "bearer" else ""


@dataclass(slots=True)
class Answer:
    """A complete response."""

    status: int
    body: bytes
    headers: HeaderList


def json_answer(status: int, value: Json | bytes, headers: Iterable[tuple[bytes, bytes]] = ()) -> Answer:
    body = value if isinstance(value, bytes) else dumps(value)
    return Answer(status, body, [_JSON, *headers])


def dumps(value: Json) -> bytes:
    return _ENCODE(value).encode()


def obj(value: object) -> dict[str, Json]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Json]:
    """The value if it is a JSON array, else an empty one."""
    return value if isinstance(value, list) else []


def text(value: object, default: str = "") -> str:
    return value if isinstance(value, str) else default


def whole(value: object, default: int) -> int:
    """The value if it is a whole number (or digits in a string), else the default."""
    if isinstance(value, str) and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else default


async def read_body(receive: Receive) -> bytes | None:
    """The whole body, or None when the client left first or sent more than MAX_BODY bytes."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        part = message.get("body", b"")
        if isinstance(part, bytes) and part:
            parts.append(part)
            size += len(part)
        if size > MAX_BODY:
            return None
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def header_map(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw}


def header_list(pairs: Mapping[str, str]) -> HeaderList:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs.items()]
