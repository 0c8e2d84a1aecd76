"""A world from a mapping or a YAML file. Every mistake is reported at once, each with its place and what would be
right.

    latency: {first_s: 0.2, per_token_s: 0.01, sigma: 0.3}
    output: {tokens: 60, sigma: 0.5}
    organisations:
      org-a:
        keys: [a1, {id: a2, status: dead}]
        limits: {rpm: 500, tpm: 200000, burst_s: 15}
        groups: [{models: ["gpt-4o*"], shared: true, limits: {rpm: 100}}]
        foreign: {share: 0.3}
      geo: {dialect: plain, keys: [geo1], limits: {rpm: 60, rpd: 1000, shape: fixed}, headers: x}
    faults: [{kind: error, rate: 0.01, error: overloaded}]

The fields are those of `WorldSpec`, `Organisation`, `Key`, `Latency`, `OutputLength`, `Foreign`, `Model` and
`Fault`; `limits` takes the arguments of `limits()`, or a list of mappings with the fields of `LimitSpec`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Literal, TypeVar, cast, get_args, get_origin, get_type_hints
from zoneinfo import available_timezones

from apikeyrouter.errors import InvalidConfigurationError, MissingConfigurationError
from apikeyrouter.simulator.dialects import ALL
from apikeyrouter.simulator.faults import Fault
from apikeyrouter.simulator.presets import PRESETS
from apikeyrouter.simulator.spec import (
    Foreign,
    Key,
    Latency,
    LimitGroup,
    LimitSpec,
    Model,
    Organisation,
    OutputLength,
    WorldSpec,
    limits,
)

__all__ = ["load", "parse", "read_fault"]

T = TypeVar("T")
Problems = list[str]
Reader = Callable[[object, str, Problems], object]


def load(name: str | Path) -> WorldSpec:
    """A preset by its name, or a YAML file.

    Raises MissingConfigurationError when there is neither, InvalidConfigurationError with every problem found.
    """
    if str(name) in PRESETS:
        return PRESETS[str(name)]()
    path = Path(name)
    if not path.is_file():
        raise MissingConfigurationError(
            f"there is no file {str(name)!r} and no preset of that name; presets are {', '.join(PRESETS)}"
        )
    import yaml  # here, because a world made in Python needs no parser

    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as wrong:
        raise InvalidConfigurationError(f"{path} is not YAML: {' '.join(str(wrong).split())}") from None
    return parse(given, where=str(path))


def parse(given: object, *, where: str = "simulator") -> WorldSpec:
    """A world as a mapping describes it. Raises InvalidConfigurationError with every problem found."""
    problems: Problems = []
    spec = _world(given, where, problems)
    problems += [problem for org in spec.organisations for problem in _sense(org, f"{where}.organisations.{org.id}")]
    if not problems and not spec.organisations:
        problems.append(f"{where}: organisations are missing; name at least one, with its keys")
    if problems:
        raise InvalidConfigurationError("; ".join(problems), problems=tuple(problems))
    return spec


def _sense(org: Organisation, where: str) -> Iterator[str]:
    """What has the right type and still cannot be."""
    known = [dialect.name for dialect in ALL]
    if org.dialect not in known:
        yield f"{where}.dialect: there is no {org.dialect!r}; there are {', '.join(known)}"
    for limit in (limit for group in org.all_groups() for limit in group.limits):
        if limit.amount < 0 or limit.per_s <= 0 or not 0.0 <= limit.start <= 1.0:
            yield f"{where}.{limit.name}: needs amount >= 0, per_s > 0 and start between 0 and 1"
        elif limit.zone not in ("UTC", *available_timezones()):
            yield f"{where}.{limit.name}: the zone {limit.zone!r} is unknown; name one such as America/Los_Angeles"


def _world(given: object, where: str, problems: Problems) -> WorldSpec:
    readers: dict[str, Reader] = {
        "organisations": _organisations,
        "models": _listed(lambda one, at, bad: _make(Model, one, at, bad)),
        "faults": _listed(read_fault),
        "latency": lambda one, at, bad: _make(Latency, one, at, bad),
        "output": lambda one, at, bad: _make(OutputLength, one, at, bad),
    }
    return _make(WorldSpec, given, where, problems, readers) or WorldSpec(organisations=())


def _organisations(given: object, where: str, problems: Problems) -> object:
    if not isinstance(given, Mapping):
        problems.append(f"{where}: must map organisation ids to their description")
        return ()
    found = []
    for name, body in given.items():
        inside = {"id": str(name), **body} if isinstance(body, Mapping) else body
        found.append(_make(Organisation, inside, f"{where}.{name}", problems, _ORGANISATION))
    return tuple(one for one in found if one is not None)


def _key(given: object, where: str, problems: Problems) -> object:
    return given if isinstance(given, str) else _make(Key, given, where, problems)


def _limits(given: object, where: str, problems: Problems) -> object:
    if isinstance(given, list):
        return _listed(lambda one, at, bad: _make(LimitSpec, one, at, bad))(given, where, problems)
    if not isinstance(given, Mapping):
        problems.append(f"{where}: must be a mapping such as {{rpm: 500, tpm: 200000}}")
        return ()
    hints = {name: hint for name, hint in get_type_hints(limits).items() if name != "return"}
    bad = [
        f"{where}.{name}: {_expected(hints, str(name))}" for name in given if not _suits(given[name], hints.get(name))
    ]
    problems.extend(bad)
    return () if bad else limits(**given)


def _group(given: object, where: str, problems: Problems) -> object:
    return _make(LimitGroup, given, where, problems, {"limits": _limits})


def read_fault(given: object, where: str, problems: Problems) -> Fault | None:
    """A fault as a mapping describes it; None, and what is wrong in `problems`, when it cannot be made."""
    read: Reader = lambda one, at, bad: one.encode() if isinstance(one, str) else one  # noqa: E731
    return _make(Fault, given, where, problems, {"body": read})


def _listed(read: Reader) -> Reader:
    def many(given: object, where: str, problems: Problems) -> object:
        if not isinstance(given, list):
            problems.append(f"{where}: must be a list")
            return ()
        found = [read(one, f"{where}[{number}]", problems) for number, one in enumerate(given)]
        return tuple(one for one in found if one is not None)

    return many


_ORGANISATION: dict[str, Reader] = {
    "keys": _listed(_key),
    "limits": _limits,
    "groups": _listed(_group),
    "latency": lambda one, at, bad: _make(Latency, one, at, bad),
    "output": lambda one, at, bad: _make(OutputLength, one, at, bad),
    "foreign": lambda one, at, bad: _make(Foreign, one, at, bad),
}


def _make(
    kind: type[T], given: object, where: str, problems: Problems, readers: Mapping[str, Reader] | None = None
) -> T | None:
    """An instance of a dataclass from a mapping; None, and what is wrong in `problems`, when it cannot be made."""
    if not isinstance(given, Mapping):
        problems.append(f"{where}: must be a mapping with fields such as {', '.join(list(get_type_hints(kind))[:3])}")
        return None
    hints, before = get_type_hints(kind), len(problems)
    values: dict[str, object] = {}
    for name, value in given.items():
        at = f"{where}.{name}"
        reader = (readers or {}).get(str(name))
        if reader is not None and name in hints:
            values[str(name)] = reader(value, at, problems)
        elif _suits(value, hints.get(name)):
            values[str(name)] = tuple(value) if isinstance(value, list) else value
        else:
            problems.append(f"{at}: {_expected(hints, str(name))}")
    problems.extend(f"{where}.{name}: is missing" for name in _required(kind) if name not in given)
    return kind(**values) if len(problems) == before else None


def _required(kind: type[object]) -> list[str]:
    return [
        f.name for f in fields(cast("type", kind)) if f.init and f.default is MISSING and f.default_factory is MISSING
    ]


def _expected(hints: Mapping[str, object], name: str) -> str:
    if name not in hints:
        return f"is unknown; known are {', '.join(hints)}"
    return f"must be {_name(hints[name])}"


def _name(hint: object) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if get_origin(hint) in (tuple, Mapping):
        return "a list" if get_origin(hint) is tuple else "a mapping"
    parts = [part for part in get_args(hint) if part is not NoneType]
    return " or ".join(_name(part) for part in parts) if parts else getattr(hint, "__name__", str(hint))


def _suits(value: object, hint: object) -> bool:
    """Whether a value from YAML has the type that a field asks for; a list stands for a tuple, an int for a float."""
    origin = get_origin(hint)
    if origin is UnionType or (origin is not None and str(origin) == "typing.Union"):
        return any(_suits(value, part) for part in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if origin is tuple:
        return isinstance(value, list) and all(_suits(one, get_args(hint)[0]) for one in value)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is NoneType:
        return value is None
    wanted = origin or hint
    return isinstance(wanted, type) and isinstance(value, wanted)
