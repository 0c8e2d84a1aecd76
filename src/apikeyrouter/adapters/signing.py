"""Signs requests for APIs that want a proof instead of a key: the built-in HMAC, and functions of one's own.

    @signer("acme")
    def sign(request: Signing) -> dict[str, str]:
        return {"X-Acme": hashlib.sha256(request.body + request.secret.reveal().encode()).hexdigest()}

A signer sees the request as it will be sent and returns headers to add. It must be quick and must not wait. What it
raises fails the request before it is sent, without its text, which may quote the secret.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final, Literal
from urllib.parse import urlsplit

from apikeyrouter.adapters.jsonhttp import UnsendableKeyError
from apikeyrouter.errors import InvalidConfigurationError, InvalidRequestError
from apikeyrouter.ports import Headers, SecretSource

ALGORITHMS: Final = ("sha1", "sha256", "sha384", "sha512")
PLACES: Final = frozenset(
    {"method", "target", "path", "query", "host", "body", "body_hash", "timestamp", "nonce", "key_id"}
)
"""What may stand in braces in a template of what is signed."""
_PLACE: Final = re.compile(r"\{(\w+)\}")
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")

TimeFormat = Literal["unix", "unix_ms", "iso", "http"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """A request about to be sent. `headers` have lower-case names, `now` is epoch seconds, `nonce` 32 hex digits."""

    method: str
    url: str = field(repr=False)
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)
    secret: SecretSource
    now: float
    nonce: str

    @property
    def path(self) -> str:
        """The path as it is sent, percent-encoded."""
        return urlsplit(self.url).path or "/"

    @property
    def query(self) -> str:
        return urlsplit(self.url).query

    @property
    def target(self) -> str:
        """Path and query."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc


Signer = Callable[[Signing], Mapping[str, str]]

_SIGNERS: dict[str, Signer] = {}


def signer(name: str) -> Callable[[Signer], Signer]:
    """Register a function that signs requests, for `auth: {signer: name}`. The same name again replaces it."""
    if not _NAME.fullmatch(name):
        raise InvalidConfigurationError(f"A signer cannot be called {name!r}; use a-z, 0-9, _ and -, as in 'acme'.")

    def register(function: Signer) -> Signer:
        _SIGNERS[name] = function
        return function

    return register


def signer_named(name: str) -> Signer | None:
    """The registered signer of that name."""
    return _SIGNERS.get(name)


def known_signers() -> tuple[str, ...]:
    """Names of registered signers, sorted."""
    return tuple(sorted(_SIGNERS))


def proof_of(sign: Signer, name: str, request: Signing) -> Mapping[str, str]:
    """The headers a signer adds. Raises InvalidRequestError for one that fails, without what it said."""
    try:
        return {str(word): str(value) for word, value in sign(request).items()}
    except InvalidRequestError:
        raise
    except Exception as error:  # noqa: BLE001  (a function of the user's own may raise anything, even with the secret)
        raise InvalidRequestError(f"signer '{name}' failed with {type(error).__name__}; nothing was sent") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hmac:
    """A keyed hash of what `sign` describes, in the header `header` as `value` has it.

    `timestamp`, `nonce` and `key_id` name headers to send those in; with `key_id` a key's secret is `id:secret`.
    """

    header: str
    sign: str
    algorithm: str = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    value: str = "{signature}"
    timestamp: str = ""
    timestamp_format: TimeFormat = "unix"
    nonce: str = ""
    key_id: str = ""

    def __call__(self, request: Signing) -> Mapping[str, str]:
        """The signature's header, and those of what it was made of."""
        named = bool(self.key_id) or "{key_id}" in self.sign + self.value
        name, secret = id_and_secret(request.secret) if named else ("", request.secret.reveal())
        parts = {"key_id": name, "timestamp": moment(request.now, self.timestamp_format), "nonce": request.nonce}
        digest = hmac.new(secret.encode(), self._message(request, parts), self.algorithm).digest()
        parts["signature"] = digest.hex() if self.encoding == "hex" else base64.b64encode(digest).decode()
        found = {word: parts[part] for part, word in self._sent() if word}
        return {**found, self.header: _PLACE.sub(lambda place: parts.get(place.group(1), ""), self.value)}

    def _sent(self) -> tuple[tuple[str, str], ...]:
        return (("timestamp", self.timestamp), ("nonce", self.nonce), ("key_id", self.key_id))

    def _message(self, request: Signing, parts: Mapping[str, str]) -> bytes:
        """What is signed, with the body as the bytes it is."""
        texts = _PLACE.split(self.sign)
        made = [texts[0].encode()]
        for place, after in zip(texts[1::2], texts[2::2], strict=True):
            made += [self._part(place, request, parts), after.encode()]
        return b"".join(made)

    def _part(self, place: str, request: Signing, parts: Mapping[str, str]) -> bytes:
        if place == "body":
            return request.body
        if place == "body_hash":
            return hashlib.new(self.algorithm, request.body).hexdigest().encode()
        return str(parts[place] if place in parts else getattr(request, place)).encode()


def id_and_secret(source: SecretSource) -> tuple[str, str]:
    """A key's material that is two: `id:secret`. Raises UnsendableKeyError, which quotes neither."""
    name, colon, secret = source.reveal().partition(":")
    if not colon or not name or not secret:
        raise UnsendableKeyError("the key is not of the form id:secret that this API needs; register it again")
    return name, secret


def moment(now: float, how: TimeFormat) -> str:
    """A time as APIs write it: seconds, milliseconds, RFC 3339 or the date of HTTP."""
    if how == "unix":
        return str(int(now))
    if how == "unix_ms":
        return str(int(now * 1000))
    when = datetime.fromtimestamp(int(now), UTC)
    return format_datetime(when, usegmt=True) if how == "http" else when.strftime("%Y-%m-%dT%H:%M:%SZ")
