"""A real `litellm --config` process, from the example's configuration with a few models more, called as clients do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import httpx
import pytest
import yaml
from litellm_example import EXAMPLE, example
from litellm_stage import HELLO, until

from apikeyrouter.simulator import Fault, Key, Organisation, World, limits, serve


def entry(group: str, name: str, variable: str, model: str = "gpt-4o-mini", **ours: Any) -> dict[str, Any]:
    params = {"model": f"openai/{model}", "api_key": f"os.environ/{variable}", "api_base": "os.environ/PROVIDER_URL"}
    info = {"id": name, "apikeyrouter": ours} if ours else {"id": name}
    return {"model_name": group, "litellm_params": params, "model_info": info}


@dataclass(frozen=True)
class Served:
    """A running Proxy and the world behind it."""

    world: World
    url: str
    run: ModuleType

    @property
    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=self.key, timeout=30)

    @property
    def key(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.run.MASTER_KEY}"}

    def chat(self, model: str = "chat", **more: Any) -> httpx.Response:
        body = {"model": model, "messages": HELLO, "max_tokens": 16, **more}
        with self.client as client:
            return client.post("/v1/chat/completions", json=body)

    def state(self) -> dict[str, Any]:
        with self.client as client:
            found: dict[str, Any] = client.get("/apikeyrouter/state").json()
        return found

    def decision(self, answer: httpx.Response) -> dict[str, Any]:
        with self.client as client:
            found: dict[str, Any] = client.get(
                f"/apikeyrouter/decisions/{answer.headers['x-apikeyrouter-decision']}"
            ).json()
        return found

    async def at_rest(self) -> dict[str, Any]:
        """The state, once nothing is open any more. Raises TimeoutError."""
        state: dict[str, Any] = {}

        def nothing_open() -> bool:
            state.update(self.state())
            return state["open_leases"] == 0

        await until(nothing_open, patience=20.0)
        return state


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    run = example()
    plain = run.simulated_world()
    storm = [
        Organisation(id=f"org-{name}", keys=(Key(id=name),), limits=limits(rpm=1, tpm=200_000, start=0.0))
        for name in ("d1", "d2", "d3")
    ]
    world = World([*(org.spec for org in plain.organisations.values()), *storm])
    config = yaml.safe_load((EXAMPLE / "config.yaml").read_text(encoding="utf-8"))
    config["model_list"] += [entry("stormy", name, f"KEY_{name.upper()}") for name in ("d1", "d2", "d3")]
    config["model_list"] += [entry("tiny", "tiny", "KEY_A", rpm=1), entry("slow", "slow", "KEY_A", "gpt-4o", rpm=60)]
    further = [{"id": "c", "api_key": "os.environ/KEY_C", "rpm": 60}]
    config["model_list"].append(entry("several", "several", "KEY_A", "gpt-4o", rpm=60, keys=further))
    native = {"model": "apikeyrouter/openai/gpt-4o-mini"}
    config["model_list"].append({"model_name": "native", "litellm_params": native, "model_info": {"id": "native"}})
    config["litellm_settings"]["custom_provider_map"] = [
        {"provider": "apikeyrouter", "custom_handler": "apikeyrouter.litellm.provider.provider"}
    ]
    config["litellm_settings"]["apikeyrouter"] |= {
        "providers": {"openai": {"adapter": "openai", "base_url": "${PROVIDER_URL}"}},
        "keys": {"own-a": {"provider": "openai", "secret": "env:KEY_A", "limits": {"rpm": 60}}},
    }
    config["router_settings"]["fallbacks"] = [{"stormy": ["chat"]}]
    path = tmp_path_factory.mktemp("proxy") / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    with ExitStack() as stack:
        provider = stack.enter_context(serve(world, thread=True))
        more = {f"KEY_{name.upper()}": world.secret(name) for name in ("d1", "d2", "d3")}
        url = stack.enter_context(run.proxy(path, {**run.environment(world, provider), **more}))
        yield Served(world, url, run)


async def test_the_openai_sdk_notices_neither_the_dead_nor_the_tiny_key(served: Served) -> None:
    assert await served.run.talk(served.url) == 40
    state = await served.at_rest()
    states = {key["id"]: key["state"] for key in state["keys"]}
    assert (states["key-a"], states["key-b"]) == ("available", "invalid")
    assert served.world.key("c1").counters.throttled == 0
    found_dead = len(served.world.record.all(key="b1"))
    assert await served.run.talk(served.url) == 40
    assert len(served.world.record.all(key="b1")) == found_dead, "whoever was under way found out; nobody since"


async def test_each_answer_names_its_decision(served: Served) -> None:
    answer = served.chat()
    assert answer.status_code == 200
    explained = served.decision(answer)
    assert explained["key"] == answer.headers["x-apikeyrouter-key"]
    assert float(answer.headers["x-apikeyrouter-wait"]) == explained["waited_s"] == 0.0
    assert f"{explained['key']} chosen" in explained["text"]
    await served.at_rest()
    assert served.decision(answer)["outcome"] == "settled"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"model": "chat", "prompt": "The sea", "max_tokens": 9}),
        ("/v1/embeddings", {"model": "embed", "input": "the sea"}),
        ("/v1/responses", {"model": "chat", "input": "the sea", "max_output_tokens": 16}),
        ("/v1/messages", {"model": "chat", "messages": HELLO, "max_tokens": 9}),
        ("/v1/chat/completions", {"model": "chat", "messages": HELLO, "max_tokens": 9, "stream": True}),
        ("/v1/messages", {"model": "chat", "messages": HELLO, "max_tokens": 9, "stream": True}),
        ("/v1/responses", {"model": "chat", "input": "the sea", "max_output_tokens": 16, "stream": True}),
    ],
)
async def test_every_kind_of_call_settles(served: Served, path: str, body: dict[str, Any]) -> None:
    with served.client as client:
        answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    await served.at_rest()
    assert served.decision(answer)["outcome"] == "settled"
    assert '"usage":{' not in answer.text.replace(" ", "") or not body.get("stream") or "chat" not in path


async def test_several_keys_stand_behind_one_deployment(served: Served) -> None:
    used = {served.chat("several").headers["x-apikeyrouter-key"] for _ in range(6)}
    assert used == {"several", "several.c"}
    await served.at_rest()
    seen = {seen.key for seen in served.world.record.all(model="gpt-4o", outcome="admitted")}
    assert seen >= {"a1", "c1"}


async def test_three_refusals_then_the_fallback(served: Served) -> None:
    before = len(served.world.record.all(outcome="throttled"))
    answer = served.chat("stormy")
    assert answer.status_code == 200, answer.text
    state = await served.at_rest()
    assert len(served.world.record.all(outcome="throttled")) - before == 3
    assert [pool["throttles"] for pool in state["pools"] if pool["id"] in ("d1", "d2", "d3")] == [1, 1, 1]
    assert answer.headers["x-apikeyrouter-key"] in ("key-a", "key-c")


async def test_a_client_cannot_dodge_its_bill(served: Served) -> None:
    for dodge in (
        {"no-log": True},
        {"metadata": {"apikeyrouter_lease": "lease_1"}},
        {"metadata": {"tags": ["no-log"]}},
    ):
        answer = served.chat(**dodge)
        assert answer.status_code == 200, answer.text
        await served.at_rest()
        assert served.decision(answer)["outcome"] == "settled"


async def test_who_leaves_in_the_middle_is_settled(served: Served) -> None:
    fault = served.world.faults.add(Fault(kind="slow_body", seconds=2.0, model="gpt-4o", times=2))
    body = {"model": "slow", "messages": HELLO, "max_tokens": 16}
    async with httpx.AsyncClient(base_url=served.url, headers=served.key, timeout=30) as client:
        for stream in (True, False):
            call = asyncio.ensure_future(client.post("/v1/chat/completions", json={**body, "stream": stream}))
            await until(lambda: served.world.organisations["org-a"].counters.in_flight > 0, patience=10.0)
            call.cancel()
            await asyncio.wait([call])
    await served.at_rest()
    fault.stop()


async def test_no_room_is_a_429_with_the_time_to_come_back(served: Served) -> None:
    assert served.chat("tiny").status_code == 200
    refused = served.chat("tiny")
    assert refused.status_code == 429
    assert served.decision(refused)["waited_s"] == 0.0
    assert 31 <= int(refused.headers["retry-after"]) <= 60
    assert "requests/minute" in refused.json()["error"]["message"]
    await served.at_rest()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_over_our_own_adapters(served: Served, stream: bool) -> None:
    answer = served.chat("native", stream=stream)
    assert answer.status_code == 200, answer.text
    state = await served.at_rest()
    assert {key["id"]: key["usage_count"] for key in state["keys"]}["own-a"] > 0


def test_the_state_is_not_for_everybody(served: Served) -> None:
    for headers in ({}, {"authorization": "Bearer sk-somebody-else"}):
        answer = httpx.get(f"{served.url}/apikeyrouter/state", headers=headers, timeout=20)
        assert answer.status_code >= 400
        assert "key-a" not in answer.text
    with served.client as client:
        assert client.get("/apikeyrouter/decisions/dec_unknown").status_code == 404
        shown = client.get("/apikeyrouter/state").text
    assert not any(served.world.secret(name) in shown for name in served.world.keys)
