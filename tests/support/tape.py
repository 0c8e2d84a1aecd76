"""Cassettes: vcrpy files that say where they come from, hold no secret, and are as short as a reader wants them.

Above vcrpy's own part each file has a label: `origin` (simulator, documented or recorded), `source` and `date` of the
shapes, `at` the time at which it plays, `asks` the request that it answers, `about` in one sentence. Key material
becomes the name of its key (`<first>`), so a replay also proves which key was tried when; identifiers of accounts
become `org-0`. Equal parts are written once and referred to, which every YAML reader undoes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import vcr
import yaml
from vcr.request import Request

CASSETTES: Final = Path(__file__).resolve().parents[2] / "cassettes"
ORIGINS: Final = ("simulator", "documented", "recorded")
SECRET_HEADERS: Final = ("authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie")
SECRET_PARAMETERS: Final = ("key", "api_key", "apikey", "access_token", "token", "appid")
OWNER_HEADERS: Final = (
    "openai-organization",
    "openai-project",
    "anthropic-organization-id",
    "anthropic-workspace-id",
)
DROPPED: Final = re.compile(r"^(set-cookie|cf-.*|alt-svc|nel|report-to|strict-transport-security|via|server|x-amz-.*)$")
OWNERS: Final = re.compile(
    r"\b(org-[A-Za-z0-9]{8,}|org_[A-Za-z0-9]{8,}|proj_[A-Za-z0-9]{8,}|user_[A-Za-z0-9]{16,}|(?<=projects/)\d{6,}"
    r"|(?<=project_number:)\d{6,}|(?<=team )[0-9a-f]{8}-[0-9a-f-]{27})"
)
SIMULATED: Final = re.compile(r"^org-\d$")
MATCHED: Final = ("method", "scheme", "host", "port", "path", "query", "body", "key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What a cassette says of itself; `at` in RFC 3339."""

    origin: str
    source: str
    date: str
    at: str
    asks: str
    about: str


def label_of(path: Path) -> Label:
    """The label of a file. Raises KeyError for a word that is missing, ValueError for an origin there is not."""
    raw = yaml.safe_load(path.read_text("utf-8").partition("\nversion:")[0])
    found = Label(**{each.name: str(raw[each.name]) for each in fields(Label)})
    if found.origin not in ORIGINS:
        raise ValueError(f"{path.name}: origin is {found.origin!r}; it is one of {', '.join(ORIGINS)}")
    return found


def interactions(path: Path) -> list[Any]:
    """Requests and responses of a file, in order, as data."""
    found: list[Any] = Labelled.deserialize(path.read_text("utf-8"))["interactions"]
    return found


@contextmanager
def playing(path: Path, materials: Mapping[str, str]) -> Iterator[Any]:
    """Answer from a cassette and from nothing else. `materials` are key materials and the names of their keys."""
    with player(Cleaner(materials)).use_cassette(str(path), record_mode="none") as cassette:
        yield cassette


@contextmanager
def recording(path: Path, label: Label, materials: Mapping[str, str]) -> Iterator[Any]:
    """Write a new cassette of what is sent meanwhile. An old one with the same exchanges stays as it is."""
    with anew(path), player(Cleaner(materials), label).use_cassette(str(path), record_mode="all") as cassette:
        yield cassette


@contextmanager
def anew(path: Path) -> Iterator[None]:
    """Meanwhile the file is not there; afterwards the old one is back if no new one, or one with another date, came."""
    old = path.read_text("utf-8") if path.exists() else None
    path.unlink(missing_ok=True)
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        made = path.read_text("utf-8") if path.exists() else None
        if old is not None and (made is None or _but_date(old) == _but_date(made)):
            path.write_text(old, "utf-8")


def _but_date(text: str) -> str:
    return re.sub(r"(?m)^date: .*$", "", text, count=1)


def player(clean: Cleaner, label: Label | None = None) -> Any:
    """vcrpy with this project's rules: what is left out, what must agree, and how a file looks."""
    made = vcr.VCR(
        before_record_request=clean.request,
        before_record_response=clean.response,
        decode_compressed_response=True,
    )
    made.register_matcher("key", same_key)
    made.match_on = MATCHED
    made.register_serializer("labelled", Labelled(label))
    made.serializer = "labelled"
    return made


def same_key(one: Request, other: Request) -> None:
    """Raises AssertionError unless both were sent with the same key, by its name."""
    assert _key_of(one) == _key_of(other)


def _key_of(request: Request) -> list[str]:
    return [str(request.headers[name]) for name in SECRET_HEADERS if name in request.headers]


class Cleaner:
    """Takes key material and the names of accounts out of what is recorded, and of what is looked up."""

    def __init__(self, materials: Mapping[str, str]) -> None:
        self._names = {material: f"<{name}>" for material, name in materials.items() if material}

    def request(self, request: Request) -> Request:
        """A request without secrets: a known material becomes `<name>`, an unknown one `<key>`."""
        for name in list(request.headers):
            if name.lower() in SECRET_HEADERS:
                request.headers[name] = self._hidden(str(request.headers[name]))
            elif name.lower() in OWNER_HEADERS:
                request.headers[name] = "org-0"
        uri = self.text(request.uri)
        for name in SECRET_PARAMETERS:
            uri = re.sub(rf"(?<=[?&]{name}=)(?!(?:<|%3C))[^&]+", "<key>", uri)
        request.uri = uri
        if isinstance(request.body, bytes):
            request.body = self.body(request.body)
        return request

    def response(self, response: dict[str, Any]) -> dict[str, Any]:
        """An answer without secrets, cookies and the names of accounts."""
        headers: dict[str, list[str]] = response["headers"]
        owners = [value for name in OWNER_HEADERS for value in headers.get(name, []) if not SIMULATED.match(value)]
        for name in list(headers):
            if DROPPED.match(name.lower()):
                del headers[name]
            else:
                headers[name] = [self.text(value, owners) for value in headers[name]]
        response["body"]["string"] = self.body(response["body"]["string"], owners)
        return response

    def body(self, body: bytes, owners: list[str] | None = None) -> bytes:
        """A body without materials; bytes that are no text stay as they are."""
        try:
            return self.text(body.decode("utf-8"), owners).encode("utf-8")
        except UnicodeDecodeError:
            return body

    def text(self, text: str, owners: list[str] | None = None) -> str:
        """A text without materials and accounts."""
        for material, name in self._names.items():
            text = text.replace(material, name)
        for owner in owners or ():
            text = text.replace(owner, "org-0")
        return OWNERS.sub("org-0", text)

    def _hidden(self, value: str) -> str:
        shown = self.text(value)
        if "<" in shown:
            return shown
        scheme, blank, _ = shown.rpartition(" ")
        return f"{scheme}{blank}<key>"


class Labelled:
    """vcrpy's YAML with a label on top. Equal values are written once; lines of a stream stay lines."""

    def __init__(self, label: Label | None = None) -> None:
        self._label = label

    def serialize(self, cassette: dict[str, Any]) -> str:
        """The file of a recorded conversation."""
        label = asdict(self._label) if self._label is not None else {}
        shared = _Shared()
        content = {**label, "version": cassette["version"], "interactions": shared.of(cassette["interactions"])}
        return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000)

    @staticmethod
    def deserialize(text: str) -> Any:
        """What vcrpy plays."""
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


class _Shared:
    """Makes equal values the same object, which the dumper then writes once."""

    def __init__(self) -> None:
        self._seen: dict[str, Any] = {}

    def of(self, value: Any) -> Any:
        if isinstance(value, dict):
            value = {name: self.of(each) for name, each in value.items()}
        elif isinstance(value, list):
            value = [self.of(each) for each in value]
        if isinstance(value, list) or len(shown := repr(value)) < LONG:
            return value
        return self._seen.setdefault(shown, value)


LONG: Final = 120
"""Characters from which a value that comes again is referred to."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return not isinstance(data, str | dict) or len(data) == 0 or len(repr(data)) < LONG

    def represent_text(self, data: str) -> yaml.ScalarNode:
        style = "|" if "\n" in data else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    def represent_values(self, data: list[Any]) -> yaml.SequenceNode:
        short = all(isinstance(each, str) for each in data)
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=short)


_Dumper.add_representer(str, _Dumper.represent_text)
_Dumper.add_representer(list, _Dumper.represent_values)
