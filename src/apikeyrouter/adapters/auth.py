"""How a key travels to an API described by configuration: as it is, as a token bought with it, or as a signature.

Read from data and checked here; carried out by the declarative adapter (`tokens` buys, `signing` signs).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, cast

from apikeyrouter.adapters.address import base_url_problem
from apikeyrouter.adapters.narrow import mapping, text
from apikeyrouter.adapters.rules import Problems
from apikeyrouter.adapters.signing import ALGORITHMS, PLACES, Hmac, TimeFormat, known_signers, signer_named
from apikeyrouter.adapters.template import names as places

AuthKind = Literal["header", "query", "bearer", "basic", "oauth2", "hmac", "signer", "none"]

KINDS: Final[tuple[AuthKind, ...]] = ("header", "query", "bearer", "basic", "oauth2", "hmac", "signer", "none")
_EXAMPLES: Final = (
    "{header: X-Api-Key}, {query: key}, {bearer: true}, {basic: user}, {oauth2: {token_url: ...}}, "
    "{hmac: {header: X-Signature, sign: '{timestamp}{body}'}}, {signer: name}, {none: true}"
)
_OAUTH_WORDS: Final = frozenset({"token_url", "client_id", "scope", "params", "client", "lifetime"})
_HMAC_WORDS: Final = frozenset(
    {"header", "sign", "algorithm", "encoding", "value", "timestamp", "timestamp_format", "nonce", "key_id"}
)
_LIFETIME_S: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth:
    """Client credentials (RFC 6749, section 4.4). Without `client_id` a key's secret is `client_id:client_secret`.

    `client` says how the client proves itself: by basic authentication, or in the form's body. `lifetime_s` is assumed
    where the answer does not say `expires_in`.
    """

    token_url: str
    client_id: str = ""
    scope: str = ""
    params: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    client: Literal["basic", "body"] = "basic"
    lifetime_s: float = _LIFETIME_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """How the key travels: `name` is the header, the query parameter, the user (basic) or the signer."""

    kind: AuthKind = "bearer"
    name: str = ""
    prefix: str = ""
    oauth: OAuth | None = None
    hmac: Hmac | None = None


def read_auth(raw: object, where: str, problems: Problems, *, allow_http: bool = False) -> Auth:
    """What `auth:` says."""
    given = mapping(raw)
    chosen = [kind for kind in KINDS if kind in given]
    if len(chosen) != 1:
        problems.add(where, f"write one of {_EXAMPLES}")
        return Auth()
    kind = chosen[0]
    problems.unknown(where, given, frozenset({kind, "prefix"}))
    if kind == "oauth2":
        return Auth(kind=kind, oauth=_oauth(given[kind], f"{where}.oauth2", problems, allow_http=allow_http))
    if kind == "hmac":
        return Auth(kind=kind, hmac=_hmac(given[kind], f"{where}.hmac", problems))
    name = text(given[kind])
    if kind in ("header", "query", "basic") and (not name.isascii() or not name.isprintable() or not name):
        problems.add(where, f"{kind} needs a name of plain characters")
    if kind == "signer" and signer_named(name) is None:
        known = ", ".join(known_signers()) or "none yet"
        problems.add(where, f"signer '{name[:64]}' is not registered; decorate a function with @signer first ({known})")
    return Auth(kind=kind, name=name, prefix=text(given.get("prefix")))


def _oauth(raw: object, where: str, problems: Problems, *, allow_http: bool) -> OAuth | None:
    given = mapping(raw)
    problems.unknown(where, given, _OAUTH_WORDS)
    url = text(given.get("token_url"))
    problem = base_url_problem(url, allow_http=allow_http)
    if problem is not None:
        problems.add(where, problem.replace("base_url", "token_url"))
    params = mapping(given.get("params"))
    if not all(isinstance(value, str | int | float) for value in params.values()):
        problems.add(f"{where}.params", "write a mapping of texts like {audience: 'https://api.example.com'}")
    client = given.get("client", "basic")
    if client not in ("basic", "body"):
        problems.add(where, f"client is {client!r}; write basic or body")
    lifetime = given.get("lifetime", _LIFETIME_S)
    if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or not 0 < lifetime < float("inf"):
        problems.add(where, f"lifetime is {lifetime!r}; write seconds")
        lifetime = _LIFETIME_S
    return OAuth(
        token_url=url,
        client_id=text(given.get("client_id")),
        scope=text(given.get("scope")),
        params={name: str(value) for name, value in params.items()},
        client="body" if client == "body" else "basic",
        lifetime_s=float(lifetime),
    )


def _hmac(raw: object, where: str, problems: Problems) -> Hmac | None:
    given = mapping(raw)
    known = len(problems.found)
    problems.unknown(where, given, _HMAC_WORDS)
    made = Hmac(
        header=text(given.get("header")),
        sign=text(given.get("sign")),
        algorithm=text(given.get("algorithm", "sha256")),
        encoding="base64" if given.get("encoding") == "base64" else "hex",
        value=text(given.get("value", "{signature}")),
        timestamp=text(given.get("timestamp")),
        timestamp_format=cast(TimeFormat, given.get("timestamp_format", "unix")),
        nonce=text(given.get("nonce")),
        key_id=text(given.get("key_id")),
    )
    for sentence in _hmac_problems(made, given):
        problems.add(where, sentence)
    return made if len(problems.found) == known else None


def _hmac_problems(made: Hmac, given: Mapping[str, object]) -> list[str]:
    found = []
    if not made.sign or not made.header:
        found.append("write what is signed and where it goes: {header: X-Signature, sign: '{timestamp}.{body}'}")
    for word in ("header", "timestamp", "nonce", "key_id"):
        name = text(given.get(word))
        if word in given and not (name.isascii() and name.isprintable() and name and " " not in name):
            found.append(f"{word} needs the name of a header")
    if made.algorithm not in ALGORITHMS:
        found.append(f"algorithm is {made.algorithm!r}; use one of {', '.join(ALGORITHMS)}")
    if given.get("encoding", "hex") not in ("hex", "base64"):
        found.append(f"encoding is {given['encoding']!r}; use hex or base64")
    if made.timestamp_format not in ("unix", "unix_ms", "iso", "http"):
        found.append(f"timestamp_format is {made.timestamp_format!r}; use unix, unix_ms, iso or http")
    unknown = sorted(places([made.sign, made.value]) - PLACES - {"signature"})
    known = ", ".join(sorted(PLACES))
    return [*found, *(f"'{{{place}}}' is nothing that can be signed; use {known}" for place in unknown)]
