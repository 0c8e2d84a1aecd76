"""Worlds from YAML: what is accepted, and that every mistake is named with its place."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml
from doc_blocks import read_document

from apikeyrouter.errors import InvalidConfigurationError, MissingConfigurationError
from apikeyrouter.simulator import Key, LimitSpec, World, arena, demo, limits, load, providers
from apikeyrouter.simulator.config import parse
from apikeyrouter.simulator.server import describe

WORLD = """
seed: 7
latency: {first_s: 0.2, per_token_s: 0.01, sigma: 0.3}
output: {tokens: 60}
organisations:
  org-a:
    keys: [a1, {id: a2, status: dead, material: sk-sim-mine}]
    limits: {rpm: 500, tpm: 200000, burst_s: 15}
    groups: [{models: ["gpt-4o*"], shared: true, limits: [{name: tpd, counts: tokens, amount: 9, per_s: 86400}]}]
    models: ["gpt-*"]
    foreign: {share: 0.3}
    latency: {first_s: 1}
  geo: {dialect: plain, keys: [geo1], limits: {rpm: 60, rpd: 1000, shape: fixed}, headers: x}
models: [{name: gpt-4o, context: 1000}]
faults: [{kind: error, rate: 0.01, error: overloaded, body: nope}]
"""


def test_a_world_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "world.yaml"
    path.write_text(WORLD)
    spec = load(path)
    org, geo = spec.organisations
    assert org.keys == ("a1", Key(id="a2", status="dead", material="sk-sim-mine"))
    assert org.limits == limits(rpm=500, tpm=200_000, burst_s=15)
    assert org.groups[0].limits == (LimitSpec(name="tpd", counts="tokens", amount=9, per_s=86_400),)
    assert (org.models, org.groups[0].models) == (("gpt-*",), ("gpt-4o*",))
    assert org.foreign is not None
    assert org.foreign.share == 0.3
    assert (geo.headers, geo.limits) == ("x", limits(rpm=60, rpd=1000, shape="fixed"))
    assert spec.faults[0].body == b"nope"
    assert World(spec).secret("a2") == "sk-sim-mine"


def test_every_mistake_is_named_at_once_with_its_place() -> None:
    given = {
        "sead": 1,
        "chunk_tokens": "many",
        "organisations": {
            "a": {"keys": "a1", "dialect": 3, "limits": {"rpm": "ten", "rpx": 1}},
            "b": [1],
            "c": {"keys": [{"material": "x"}], "limits": 5},
        },
        "faults": {"kind": "error"},
    }
    with pytest.raises(InvalidConfigurationError) as caught:
        parse(given, where="file")
    found = "\n".join(caught.value.problems)
    for part in (
        r"file\.sead: is unknown; known are organisations, models",
        r"file\.chunk_tokens: must be int",
        r"file\.organisations\.a\.keys: must be a list",
        r"file\.organisations\.a\.dialect: must be str",
        r"file\.organisations\.a\.limits\.rpm: must be int",
        r"file\.organisations\.a\.limits\.rpx: is unknown",
        r"file\.organisations\.b: must be a mapping",
        r"file\.organisations\.c\.keys\[0\]\.id: is missing",
        r"file\.organisations\.c\.limits: must be a mapping such as",
        r"file\.faults: must be a list",
    ):
        assert re.search(part, found), part


@pytest.mark.parametrize(
    ("organisation", "sentence"),
    [
        ({"dialect": "opnai"}, "there is no 'opnai'; there are anthropic, gemini, openai, plain"),
        ({"limits": {"rpd": 5, "zone": "Mars/Olympus"}}, "the zone 'Mars/Olympus' is unknown"),
        ({"limits": {"rpm": -1}}, "rpm: needs amount >= 0"),
        ({"limits": {"rpm": 1, "start": 1.5}}, "start between 0 and 1"),
    ],
)
def test_what_has_the_right_type_and_still_cannot_be(organisation: dict, sentence: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=re.escape(sentence)):
        parse({"organisations": {"a": {"keys": ["k"], **organisation}}})


@pytest.mark.parametrize("given", [None, {}, [], {"organisations": {}}, "x"])
def test_nothing_is_not_a_world(given: object) -> None:
    with pytest.raises(InvalidConfigurationError):
        parse(given)


def test_what_is_not_there_and_what_is_not_yaml(tmp_path: Path) -> None:
    with pytest.raises(MissingConfigurationError, match="presets are demo, arena, providers"):
        load("no-such-thing")
    path = tmp_path / "broken.yaml"
    path.write_text("a: [")
    with pytest.raises(InvalidConfigurationError, match="is not YAML"):
        load(path)


def test_an_id_or_a_material_that_occurs_twice_is_refused() -> None:
    with pytest.raises(InvalidConfigurationError, match="occurs twice"):
        World(parse({"organisations": {"a": {"keys": ["k"]}, "b": {"keys": ["k"]}}}))
    with pytest.raises(InvalidConfigurationError, match="occurs twice"):
        World(parse({"organisations": {"a": {"keys": [{"id": "x", "material": "m"}, {"id": "y", "material": "m"}]}}}))


def test_the_presets_are_what_they_say() -> None:
    assert len({org.id for org in arena().organisations}) == 5
    assert len(World(arena()).keys) == 8
    assert sum(org.dialect == "openai" for org in demo().organisations) == 3
    assert load("arena") == arena()
    assert {org.dialect for org in providers().organisations} == {"openai", "anthropic", "gemini", "plain"}
    assert len(World(providers()).keys) == 16


def test_material_of_ones_own_is_not_shown_again() -> None:
    world = World(parse({"organisations": {"a": {"keys": ["made-up", {"id": "mine", "material": "brought-along"}]}}}))
    shown = describe(world, "http://127.0.0.1:1")
    assert world.secret("made-up") in shown
    assert "brought-along" not in shown + repr(world.spec)


def test_the_world_that_the_reference_shows_can_be_loaded() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "reference" / "simulator.md"
    (shown,) = [block.text for block in read_document(page).blocks if block.language == "yaml"]
    assert len(World(parse(yaml.safe_load(shown))).keys) == 5


def test_without_uvicorn_one_sentence_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "from apikeyrouter.simulator import World, arena, serve\n"
        "serve(World(arena())).__enter__()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingDependencyError" in done.stderr
    assert "pip install 'apikeyrouter[proxy]'" in done.stderr


def test_a_world_in_process_loads_no_third_party() -> None:
    code = (
        "import sys\n"
        "from apikeyrouter.simulator import SimulatorApp, World, arena\n"
        "SimulatorApp(World(arena()))\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'uvicorn', 'httpx', 'pydantic', 'yaml'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_command_serves_and_says_where() -> None:
    command = [sys.executable, "-m", "apikeyrouter.simulator", "demo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            assert url is not None
            assert httpx.get(f"{url[0]}/_sim/state").json()["keys"]["a1"]["status"] == "alive"
        finally:
            process.terminate()


def test_the_command_says_in_one_sentence_what_is_wrong() -> None:
    command = [sys.executable, "-m", "apikeyrouter.simulator", "no-such-thing"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
