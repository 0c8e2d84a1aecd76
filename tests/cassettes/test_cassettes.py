"""Cassettes themselves: each says where it comes from, none holds a secret, all can be made again."""

from __future__ import annotations

import re
import socket
from datetime import date, datetime
from pathlib import Path

import httpx
import pytest
from tape import CASSETTES, Label, interactions, label_of, playing, recording
from tape_scenes import ASKS, AT, MATERIALS, PROVIDERS, SCENES, answered, call_of, moment
from vcr.errors import CannotOverwriteExistingCassetteException

import record_cassettes
from apikeyrouter.adapters import OpenAIAdapter
from apikeyrouter.core.failure import Kind

FILES = sorted(CASSETTES.rglob("*.yaml"))
EACH = pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(CASSETTES).with_suffix("").as_posix())
LOOKS_SECRET = re.compile(
    r"sk-[A-Za-z0-9_-]{16,}|AIza[A-Za-z0-9_-]{20,}|gsk_[A-Za-z0-9]{16,}|xai-[A-Za-z0-9]{16,}|Bearer (?!<)\S+|set-cookie"
    r"|org[-_][A-Za-z0-9]{8,}|proj_[A-Za-z0-9]{8,}|key-of-the-cassettes|[\w.]+@[\w-]+\.[a-z]{2,}",
    re.IGNORECASE,
)
FIRST, SECOND = MATERIALS
NAMED = re.compile(r"^(Bearer |Basic )?<[\w-]+>$")


@EACH
def test_a_cassette_says_where_it_comes_from(path: Path) -> None:
    label = label_of(path)
    assert label.source
    assert label.about.endswith((".", "…"))
    assert label.asks in ASKS or path.parent.name == "langchain"
    assert date(2024, 1, 1) <= date.fromisoformat(label.date)
    assert datetime.fromisoformat(label.at).tzinfo is not None
    assert (label.origin == "documented") == bool(re.search(r"\(\d{4}", label.source))


@EACH
def test_a_cassette_holds_no_secret(path: Path) -> None:
    assert not LOOKS_SECRET.findall(path.read_text("utf-8"))
    for each in interactions(path):
        headers = {name.lower(): values for name, values in each["request"]["headers"].items()}
        shown = [
            value
            for name in ("authorization", "x-api-key", "api-key", "x-goog-api-key")
            for value in headers.get(name, [])
        ]
        assert shown
        assert all(NAMED.match(value) for value in shown)


def test_there_is_every_kind_of_day_for_every_provider() -> None:
    stems = {name: {path.stem for path in (CASSETTES / name).glob("*.yaml")} for name in PROVIDERS}
    for name in ("openai", "anthropic", "gemini"):
        assert {"chat", "stream", "tools", "unauthorized", "rate_limited_minute", "overloaded", "stream_cut"} <= stems[
            name
        ]
        assert {"out_of_money", "rate_limited_day", "spend_cap_month"} & stems[name]
    assert {"geocode", "message", "unauthorized", "rate_limited_minute", "quota_day", "overloaded"} <= stems["http"]
    assert {(name, scene) for name, scenes in SCENES.items() for scene in scenes} <= {
        (name, stem) for name in stems for stem in stems[name]
    }


# -- recording --------------------------------------------------------------------------------------------------------


async def test_recording_twice_gives_the_same_files(tmp_path: Path) -> None:
    folders = tmp_path / "one", tmp_path / "two"
    for folder in folders:
        made = await record_cassettes.record(folder)
        assert made == sum(len(scenes) for scenes in SCENES.values())
    texts = [
        {path.relative_to(folder): path.read_text("utf-8") for path in folder.rglob("*.yaml")} for folder in folders
    ]
    assert texts[0] == texts[1]
    assert len(texts[0]) == made


async def test_recording_again_leaves_what_has_not_changed(tmp_path: Path) -> None:
    path, scene = tmp_path / "openai" / "chat.yaml", SCENES["openai"]["chat"]
    await record_cassettes.record_simulated(path, "openai", scene)
    old = re.sub(r"(?m)^date: .*$", "date: '2025-05-05'", path.read_text("utf-8"))
    path.write_text(old, "utf-8")
    await record_cassettes.record_simulated(path, "openai", scene)
    assert path.read_text("utf-8") == old
    path.write_text(old.replace("Say hello", "Say good-bye"), "utf-8")
    await record_cassettes.record_simulated(path, "openai", scene)
    assert label_of(path).date != "2025-05-05"
    assert "Say hello" in path.read_text("utf-8")


async def test_a_documented_cassette_keeps_its_answers(tmp_path: Path) -> None:
    original = CASSETTES / "azure" / "overloaded.yaml"
    path = tmp_path / "azure" / "overloaded.yaml"
    path.parent.mkdir()
    path.write_text(original.read_text("utf-8").replace("Say hello", "Something older"), "utf-8")
    await record_cassettes.record_documented(path)
    assert path.read_text("utf-8") == original.read_text("utf-8")


async def test_no_secret_reaches_a_recording(tmp_path: Path) -> None:
    material, account = "sk-" + "x7" * 20, "org-" + "Ab3" * 8

    async def answer(request: httpx.Request) -> httpx.Response:
        assert material in request.headers["authorization"]
        said = {"error": {"message": f"Key {material} of {account}, also {account[:20]}", "code": "invalid_api_key"}}
        headers = {"openai-organization": account, "set-cookie": "session=1", "x-echo": material, "date": "today"}
        return httpx.Response(401, headers=headers, json=said)

    path = tmp_path / "chat.yaml"
    label = Label(origin="recorded", source="a test", date="2026-01-01", at=AT, asks="chat", about="A refusal.")
    adapter = OpenAIAdapter(organization=account, transport=httpx.MockTransport(answer))
    with recording(path, label, {material: "first"}):
        found, _ = await answered(adapter, call_of(PROVIDERS["openai"], ASKS["chat"], material), streams=False)
    assert found.status == 401
    text = path.read_text("utf-8")
    assert not LOOKS_SECRET.findall(text)
    assert "session" not in text
    assert text.count("<first>") == 3
    assert text.count("org-0") == 4
    assert "today" in text


@pytest.mark.parametrize(
    ("given", "kept"), [("?key=abc123&q=1", "?key=<key>&q=1"), ("?q=1&api_key=a%2Fb", "?q=1&api_key=<key>")]
)
async def test_a_key_in_the_address_is_hidden(given: str, kept: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    label = Label(origin="recorded", source="a test", date="2026-01-01", at=AT, asks="geocode", about="x.")
    with recording(path, label, {}):
        async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(204))) as client:
            await client.get(f"https://api.example.com/{given}")
    assert interactions(path)[0]["request"]["uri"] == f"https://api.example.com/{kept}"


def test_real_recording_needs_a_key_and_says_which(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert record_cassettes.main(["--real", "openai"]) == 2
    assert "OPENAI_API_KEY" in capsys.readouterr().out
    assert record_cassettes.main(["--real", "azure"]) == 2
    assert "name some of openai" in capsys.readouterr().out


# -- replaying --------------------------------------------------------------------------------------------------------


async def test_what_is_not_on_the_cassette_is_an_error() -> None:
    provider, path = PROVIDERS["openai"], CASSETTES / "openai" / "chat.yaml"
    adapter = provider.make(lambda: moment(AT), None)
    other_key = call_of(provider, ASKS["chat"], SECOND)
    other_body = call_of(provider, ASKS["tools"], FIRST)
    with playing(path, MATERIALS):
        for call in (other_key, other_body):
            with pytest.raises(CannotOverwriteExistingCassetteException):
                await adapter.send(call)
    with playing(path.with_name("missing.yaml"), MATERIALS), pytest.raises(CannotOverwriteExistingCassetteException):
        await adapter.send(call_of(provider, ASKS["chat"], FIRST))
    assert not path.with_name("missing.yaml").exists()


async def test_there_is_no_network_here() -> None:
    with pytest.raises(PermissionError, match="reaches no network"):
        socket.getaddrinfo("localhost", 80)
    with socket.socket() as sock, pytest.raises(PermissionError, match="reaches no network"):
        sock.connect(("127.0.0.1", 9))
    with socket.socket() as sock, pytest.raises(PermissionError, match="reaches no network"):
        sock.bind(("127.0.0.1", 0))
    answer = await OpenAIAdapter("http://127.0.0.1:9/v1").send(call_of(PROVIDERS["openai"], ASKS["chat"], FIRST))
    assert answer.failure is not None
    assert (answer.failure.kind, answer.failure.sent) == (Kind.NETWORK, False)
