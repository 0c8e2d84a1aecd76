"""A secret is never shown: not printed, not formatted, not pickled, not compared in the open, not in any error."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import pprint
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import structlog

from apikeyrouter import ApiKeyRouter, InvalidConfigurationError, MissingConfigurationError
from apikeyrouter.core.model import Request
from apikeyrouter.credentials import LONGEST, SHORTEST, Secret, resolve
from apikeyrouter.errors import ApiKeyRouterError

TEXT = "sk-plain-material-0123456789"
STARS = "*****"


@dataclass
class Holder:
    name: str
    secret: Secret


SHOWINGS: dict[str, Callable[[Secret], str]] = {
    "str": str,
    "repr": repr,
    "f-string": lambda s: f"{s} {s!r} {s:>20} {s!s}",
    "percent": lambda s: "%s %r" % (s, s),  # noqa: UP031
    "format": lambda s: "{} {!r}".format(s, s),  # noqa: UP032
    "in a list": lambda s: str([s]),
    "in a dictionary": lambda s: repr({"key": s}),
    "in a dataclass": lambda s: repr(Holder("k", s)),
    "pprint": lambda s: pprint.pformat({"a": [s]}),
    "its method": lambda s: repr(s.reveal),
    "attributes": lambda s: repr(getattr(s, "__dict__", "")),
    "logging": lambda s: logging.LogRecord("x", 10, "f", 1, "%s %r", (s, s), None).getMessage(),
    "structlog": lambda s: str(structlog.processors.KeyValueRenderer()(None, "", {"key": s})),
    "json with str": lambda s: json.dumps({"key": s}, default=str),
}


@pytest.mark.parametrize("how", SHOWINGS)
def test_however_it_is_shown_it_is_stars(how: str) -> None:
    shown = SHOWINGS[how](Secret(TEXT))
    assert TEXT not in shown
    assert TEXT[3:] not in shown
    assert TEXT[-4:] not in shown


def test_stars_do_not_tell_the_length() -> None:
    assert str(Secret("x" * 12)) == str(Secret("x" * 100)) == STARS


REFUSED: dict[str, Callable[[Secret], object]] = {
    "pickle": pickle.dumps,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "asdict": lambda s: asdict(Holder("k", s)),
    "json": json.dumps,
    "bytes": bytes,  # type: ignore[dict-item]
    "iteration": list,  # type: ignore[dict-item]
    "concatenation": lambda s: "Bearer " + s,  # type: ignore[operator]
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_would_copy_it_is_refused_without_showing_it(how: str) -> None:
    with pytest.raises(TypeError) as caught:
        REFUSED[how](Secret(TEXT))
    assert TEXT not in str(caught.value)


def test_only_reveal_gives_it() -> None:
    assert Secret(f"  {TEXT}\n").reveal() == TEXT


def test_secrets_compare_and_hash_by_material() -> None:
    assert Secret(TEXT) == Secret(TEXT)
    assert hash(Secret(TEXT)) == hash(Secret(TEXT))
    assert Secret(TEXT) != Secret(TEXT + "x")
    assert Secret(TEXT) != TEXT


def test_a_fingerprint_names_the_material_for_one_salt_only() -> None:
    first, second = Secret(TEXT).fingerprint(b"a"), Secret(TEXT).fingerprint(b"b")
    assert first == Secret(TEXT).fingerprint(b"a") != second
    assert len(first) == 12
    assert int(first, 16) >= 0


UNFIT = [
    "",
    "short",
    "has a space in it",
    "l\u00e4ngliches-material",
    "line\nbreak-inside",
    "tab\tinside",
    "nul\0inside",
]


@pytest.mark.parametrize("text", [*UNFIT, "x" * (SHORTEST - 1), "x" * (LONGEST + 1)])
def test_what_no_header_carries_is_refused_unseen(text: str) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        Secret(text, name="key 'k'")
    assert "key 'k'" in str(caught.value)
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize("length", [SHORTEST, LONGEST])
def test_the_lengths_at_the_edge_are_taken(length: int) -> None:
    assert len(Secret("x" * length).reveal()) == length


# -- sources ---------------------------------------------------------------------------------------------------------


def test_each_source_gives_the_material(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("A_KEY", TEXT)
    (tmp_path / "key").write_text(f"{TEXT}\n", encoding="utf-8")
    for source in ("env:A_KEY", f"file:{tmp_path}/key", "${A_KEY}", TEXT):
        assert resolve(source) == Secret(TEXT)
    assert resolve("sk-plain-${A_KEY}").reveal() == f"sk-plain-{TEXT}"


@pytest.mark.parametrize("source", ["env:NOT_THERE", "${NOT_THERE}", "file:/not/there", "file:/"])
def test_what_is_missing_is_named_by_its_place(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_THERE", raising=False)
    with pytest.raises(MissingConfigurationError) as caught:
        resolve(source, name="key 'k'")
    assert str(caught.value).startswith("Key 'k' is read from")
    assert source.strip("${}").partition(":")[2] in str(caught.value)


def test_a_file_that_is_no_text_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe" + TEXT.encode())
    with pytest.raises(MissingConfigurationError) as caught:
        resolve(f"file:{tmp_path}/key")
    assert TEXT not in "".join(traceback.format_exception(caught.value))


def test_an_empty_variable_is_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "")
    with pytest.raises(MissingConfigurationError, match="A_KEY"):
        resolve("env:A_KEY")


# -- the whole engine ------------------------------------------------------------------------------------------------


async def test_nothing_a_router_says_has_the_material() -> None:
    router = ApiKeyRouter(log=False)
    await router.register_provider("p", "openai")
    key = await router.register_key(TEXT, "p", id="k")
    lease = router.acquire(Request(model="m", input_tokens=1, max_output_tokens=1))
    said: list[object] = [key, lease, lease.decision, router, router.get_state_summary(), router._router.secrets,
                          lease.reveal, router.list_keys(), router._router.transitions]  # fmt: skip
    attempts: list[Callable[[], object]] = [
        lambda: router.enrolment.add_key(TEXT, "p", {"id": "k2"}),
        lambda: router.enrolment.add_key(TEXT, "p", {"id": "k"}),
        lambda: router.enrolment.add_key(TEXT, "nowhere", {"id": "k3"}),
        lambda: router.enrolment.add_key(TEXT, "p", {"id": f"{TEXT}!"}),
        lambda: router.enrolment.add_key("another-provider", TEXT, {"id": "k4"}),
        lambda: router.enrolment.rotate("not-there", TEXT),
        lambda: router.get_key(TEXT),
        lambda: router.explain(TEXT),
    ]
    for attempt in attempts:
        with pytest.raises(ApiKeyRouterError) as caught:
            attempt()
        said += [caught.value, caught.value.details]
    assert lease.secret() == TEXT
    for thing in said:
        assert TEXT not in f"{thing!r} {thing!s}"
    await router.aclose()


async def test_open_leases_keep_the_material_they_began_with() -> None:
    router = ApiKeyRouter(log=False)
    await router.register_provider("p", "openai")
    await router.register_key(TEXT, "p", id="k")
    before = router.acquire(Request(model="m", input_tokens=1, max_output_tokens=1))
    await router.rotate_key("k", TEXT + "-new")
    after = router.acquire(Request(model="m", input_tokens=1, max_output_tokens=1))
    await router.revoke_key("k")
    assert (before.secret(), after.secret()) == (TEXT, TEXT + "-new")
    assert "k" not in router._router.secrets
    await router.aclose()
