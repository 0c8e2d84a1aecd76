"""A provider described by configuration, read and checked: what the declarative adapter then only carries out.

Every mistake is found at once and named with its place; a plan exists only without any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Literal, cast

from apikeyrouter.adapters.address import base_url_problem
from apikeyrouter.adapters.auth import Auth, read_auth
from apikeyrouter.adapters.dialect import Dialect, dialect
from apikeyrouter.adapters.dialect import names as dialect_names
from apikeyrouter.adapters.narrow import items, mapping, text
from apikeyrouter.adapters.rules import Problems, limit_table, path, paths, rules
from apikeyrouter.adapters.settings import WIRE_WORDS, wire_settings
from apikeyrouter.adapters.template import names as places
from apikeyrouter.adapters.usage import UsagePaths, decimal, usage_paths
from apikeyrouter.core.classify import ErrorTable
from apikeyrouter.core.headers import LimitTable
from apikeyrouter.core.jsonpath import Path
from apikeyrouter.core.model import nano
from apikeyrouter.core.window import Limit
from apikeyrouter.errors import InvalidConfigurationError

_WORDS: Final = frozenset(
    {"auth", "base_url", "codes", "cost", "errors", "headers", "health", "limit_headers", "limits_from", "messages"}
    | {"operations", "usage", "waits"}
    | WIRE_WORDS
)
_OPERATION_WORDS: Final = frozenset(
    {"answer", "body", "content", "cost", "counts", "encoding", "ends", "headers", "idempotency", "idempotent"}
    | {"limits", "method", "params", "path", "stream"}
)
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
_SAFE_TO_REPEAT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE"})
_HEADER_SETS: Final = {"ratelimit": "ratelimit-", "x-ratelimit": "x-rate"}

_SHORT_LIMITS: Final = ("rps", "rpm", "rph", "rpd", "concurrency")

Answers = Literal["json", "text", "bytes", "none"]
Streams = Literal["", "sse", "bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """`per_request` in nano-dollars, known before sending; `path` to the dollars that an answer states."""

    per_request: int | None = None
    path: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One request the provider offers.

    `params` None: what is not placed elsewhere goes where the method puts it. `placed` are all placeholders.
    `idempotency` is the header that marks repeats of one request. `stream` says what router.stream() passes on, `ends`
    the event that must end it. What
    `counts` is charged to quotas when it serves as a probe. `limits` hold for this operation alone.
    """

    name: str
    method: str
    path: str
    params: Mapping[str, object] | None = None
    body: object = None
    encoding: Literal["json", "form"] = "json"
    idempotent: bool = False
    answer: Answers = "json"
    content: Path = ()
    cost: Cost = Cost()
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    limits: tuple[Limit, ...] = ()
    idempotency: str = ""
    stream: Streams = ""
    ends: str = ""
    counts: bool = True
    placed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole provider, without mistakes."""

    base_url: str
    auth: Auth
    operations: Mapping[str, Operation]
    headers: Mapping[str, str]
    health: str | None
    speech: Dialect


def read_plan(raw: Mapping[str, object], where: str) -> Plan:
    """A plan from configuration. Raises InvalidConfigurationError with every mistake."""
    problems = Problems([])
    problems.unknown(where, raw, _WORDS)
    wire_settings(raw, where, problems)
    cost = _cost(raw.get("cost"), f"{where}.cost", problems)
    plan = Plan(
        base_url=_base_url(raw, where, problems),
        auth=read_auth(
            raw.get("auth", {"bearer": True}), f"{where}.auth", problems, allow_http=raw.get("allow_http") is True
        ),
        operations=_operations(raw.get("operations"), cost, f"{where}.operations", problems),
        headers=_headers(raw.get("headers"), f"{where}.headers", problems),
        health=text(raw.get("health")) or None,
        speech=_speech(raw, where, problems),
    )
    if plan.health is not None and plan.health not in plan.operations:
        problems.add(f"{where}.health", f"'{plan.health}' is none of the operations")
    if problems.found:
        raise InvalidConfigurationError("; ".join(problems.found), problems=tuple(problems.found))
    return plan


def _base_url(raw: Mapping[str, object], where: str, problems: Problems) -> str:
    url = text(raw.get("base_url"))
    if not url:
        problems.add(where, "base_url is missing; write it like https://api.example.com")
        return ""
    problem = base_url_problem(url, allow_http=raw.get("allow_http") is True)
    if problem is not None:
        problems.add(where, problem)
    return url


def _operations(raw: object, cost: Cost, where: str, problems: Problems) -> Mapping[str, Operation]:
    given = mapping(raw)
    if not given:
        problems.add(where, "at least one operation is needed, like {geocode: {method: GET, path: /v1/geocode}}")
    return {name: _operation(name, mapping(one), cost, f"{where}.{name}", problems) for name, one in given.items()}


def _operation(name: str, given: Mapping[str, object], cost: Cost, where: str, problems: Problems) -> Operation:
    problems.unknown(where, given, _OPERATION_WORDS)
    method = text(given.get("method", "GET")).upper()
    if method not in _METHODS:
        problems.add(where, f"method is {given.get('method')!r}; use one of {', '.join(_METHODS)}")
    place = text(given.get("path"))
    if not place.startswith("/") or "?" in place or "#" in place or "://" in place:
        problems.add(where, "path is missing or no path; write it like /v1/places/{id}, parameters under params")
    params = _params(given.get("params"), f"{where}.params", problems)
    headers = _headers(given.get("headers"), f"{where}.headers", problems)
    return Operation(
        placed=places([place, params or {}, given.get("body"), headers]),
        name=name,
        method=method,
        path=place,
        params=params,
        body=given.get("body"),
        encoding="form" if _choice(given, "encoding", ("json", "form"), where, problems) == "form" else "json",
        idempotent=given.get("idempotent", method in _SAFE_TO_REPEAT) is True,
        answer=_answers(given, where, problems),
        content=(path(given["content"], f"{where}.content", problems) or ()) if "content" in given else (),
        cost=_cost(given["cost"], f"{where}.cost", problems) if "cost" in given else cost,
        headers=headers,
        limits=_limits_of(given.get("limits"), name, f"{where}.limits", problems),
        idempotency=_idempotency(given, where, problems),
        stream=cast(Streams, _choice(given, "stream", ("", "sse", "bytes"), where, problems)),
        ends=text(given.get("ends")),
        counts=given.get("counts", True) is True,
    )


def _idempotency(given: Mapping[str, object], where: str, problems: Problems) -> str:
    name = text(given.get("idempotency"))
    if "idempotency" in given and not (name.isascii() and name.isprintable() and name and " " not in name):
        problems.add(where, "idempotency needs the name of a header, like Idempotency-Key")
        return ""
    return name


def _limits_of(raw: object, operation: str, where: str, problems: Problems) -> tuple[Limit, ...]:
    """Limits of one operation: `{rpm: 5}`, or a list in the long form. Keys compete for operations as for models."""
    short = mapping(raw)
    found = [_short_limit(name, amount, where, problems) for name, amount in short.items()]
    found += [_made(Limit, mapping(one), f"{where}[{at}]", problems) for at, one in enumerate(items(raw))]
    if raw is not None and not isinstance(raw, Mapping | list):
        problems.add(where, "write {rpm: 5}, or a list such as [{of: requests, amount: 5, per: minute}]")
    return tuple(replace(limit, models=(operation,)) for limit in found if limit is not None)


def _short_limit(name: str, amount: object, where: str, problems: Problems) -> Limit | None:
    if name not in _SHORT_LIMITS:
        problems.add(where, f"'{name}' is no limit of an operation; use {', '.join(_SHORT_LIMITS)}, or the long form")
        return None
    return _made(getattr(Limit, name), {"amount": amount}, where, problems)


def _made(make: Callable[..., Limit], words: Mapping[str, object], where: str, problems: Problems) -> Limit | None:
    try:
        return make(**words)
    except InvalidConfigurationError as error:
        problems.add(where, error.message)
    except TypeError:
        problems.add(where, "this is no limit; write {of: requests, amount: 5, per: minute}")
    return None


def _answers(given: Mapping[str, object], where: str, problems: Problems) -> Answers:
    return cast(Answers, _choice(given, "answer", ("json", "text", "bytes", "none"), where, problems))


def _choice(given: Mapping[str, object], word: str, allowed: tuple[str, ...], where: str, problems: Problems) -> str:
    chosen = given.get(word, allowed[0])
    if chosen not in allowed:
        problems.add(where, f"{word} is {chosen!r}; use one of {', '.join(filter(None, allowed))}")
        return allowed[0]
    return text(chosen)


def _params(raw: object, where: str, problems: Problems) -> Mapping[str, object] | None:
    """A list names values to pass on where they are given; a mapping holds templates."""
    if raw is None:
        return None
    if isinstance(raw, Mapping):
        return {str(name): template for name, template in raw.items()}
    if not isinstance(raw, list) or not all(isinstance(name, str) for name in raw):
        problems.add(where, "write a list of names like [q, limit], or a mapping like {q: '{query}', format: json}")
    return {name: f"{{{name}?}}" for name in items(raw) if isinstance(name, str)}


def _headers(raw: object, where: str, problems: Problems) -> Mapping[str, str]:
    given = mapping(raw)
    if raw is not None and not isinstance(raw, Mapping):
        problems.add(where, "write a mapping of names and values")
    for name, value in given.items():
        if not isinstance(value, str | int | float) or not str(value).isprintable() or not name.isprintable():
            problems.add(where, f"header '{name}' needs one line of text")
    return {str(name): str(value) for name, value in given.items()}


def _cost(raw: object, where: str, problems: Problems) -> Cost:
    if raw is None:
        return Cost()
    given = mapping(raw)
    problems.unknown(where, given, frozenset({"per_request", "path"}))
    if not given:
        problems.add(where, 'write {per_request: "0.0005"} (dollars), {path: $.cost}, or both')
    amount = decimal(given.get("per_request"))
    if "per_request" in given and amount is None:
        problems.add(where, f'per_request is {given["per_request"]!r}; write dollars like "0.0005"')
    return Cost(
        per_request=nano(amount) if amount is not None else None,
        path=path(given["path"], f"{where}.path", problems) if "path" in given else None,
    )


def _speech(raw: Mapping[str, object], where: str, problems: Problems) -> Dialect:
    base = dialect("generic")
    return Dialect(
        name="declarative",
        date="",
        sources=(),
        base_url=None,
        hosts=(),
        options={},
        errors=_errors(raw, base.errors, where, problems),
        limits=_limits(raw, base.limits, where, problems),
        usage=_usage(raw, base.usage, where, problems),
    )


def _errors(raw: Mapping[str, object], base: ErrorTable, where: str, problems: Problems) -> ErrorTable:
    return ErrorTable(
        rules=rules(raw.get("errors"), f"{where}.errors", problems) + base.rules,
        codes=paths(raw.get("codes"), f"{where}.codes", problems) + base.codes,
        messages=paths(raw.get("messages"), f"{where}.messages", problems) + base.messages,
        waits=paths(raw.get("waits"), f"{where}.waits", problems) + base.waits,
    )


def _usage(raw: Mapping[str, object], base: UsagePaths, where: str, problems: Problems) -> UsagePaths:
    return usage_paths(raw["usage"], f"{where}.usage", problems) if "usage" in raw else base


def _limits(raw: Mapping[str, object], base: LimitTable, where: str, problems: Problems) -> LimitTable:
    own = limit_table({"rows": raw.get("limit_headers")}, f"{where}.limit_headers", problems).rows
    if "limits_from" not in raw:
        return LimitTable(rows=own + base.rows, structured=base.structured)
    chosen = [_header_set(one, base, f"{where}.limits_from", problems) for one in items(raw["limits_from"])]
    rows = own + tuple(row for table in chosen for row in table.rows)
    return LimitTable(rows=rows, structured=any(table.structured for table in chosen))


def _header_set(one: object, base: LimitTable, where: str, problems: Problems) -> LimitTable:
    """`ratelimit`, `x-ratelimit`, `retry-after` (always obeyed), or the name of a shipped dialect."""
    name = text(one)
    if name == "retry-after":
        return LimitTable()
    if name in _HEADER_SETS:
        begins = _HEADER_SETS[name]
        chosen = tuple(row for row in base.rows if (row.limit or "").startswith(begins))
        return LimitTable(rows=chosen, structured=name == "ratelimit")
    if name in dialect_names():
        return dialect(name).limits
    known = ", ".join((*_HEADER_SETS, "retry-after", *dialect_names()))
    problems.add(where, f"{one!r} is no known set of headers; use some of {known}")
    return LimitTable()
