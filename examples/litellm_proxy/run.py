"""A real LiteLLM Proxy over three keys, one dead and one tiny, and a client that notices neither.

Starts the simulated provider and `litellm --config config.yaml` on loopback, then talks to the Proxy with the openai
SDK: chats, streams, embeddings. Look at the last lines: what each key got, and why one of the calls went where it went.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from openai import AsyncOpenAI

from apikeyrouter.simulator import Key, Organisation, World, limits, serve

HERE = Path(__file__).parent
MASTER_KEY = "sk-master-of-this-example"
READY_S = 120.0


def simulated_world() -> World:
    """Three organisations of one key: the second has been revoked, the third takes six requests a minute."""
    plenty = limits(rpm=600, tpm=200_000)
    return World(
        [
            Organisation(id="org-a", keys=("a1",), limits=plenty),
            Organisation(id="org-b", keys=(Key(id="b1", status="dead"),), limits=plenty),
            Organisation(id="org-c", keys=("c1",), limits=limits(rpm=6, tpm=200_000)),
        ]
    )


def environment(world: World, provider_url: str) -> dict[str, str]:
    """What config.yaml reads."""
    keys = {f"KEY_{name[0].upper()}": world.secret(name) for name in ("a1", "b1", "c1")}
    return {"PROVIDER_URL": f"{provider_url}/v1", "LITELLM_MASTER_KEY": MASTER_KEY, **keys}


@contextmanager
def proxy(config: Path, more: dict[str, str]) -> Iterator[str]:
    """A LiteLLM Proxy as a process of its own, ready to be called; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("litellm")), "--config", str(config)]
    variables = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", **more}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], env=variables, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield ready(process, f"http://127.0.0.1:{port}")
        except BaseException:
            log.seek(0)
            print(log.read().decode(errors="replace")[-4000:], file=sys.stderr)
            raise
        finally:
            process.terminate()
            process.wait(30)


def ready(process: subprocess.Popen[bytes], url: str) -> str:
    """Wait until the Proxy answers."""
    until = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < until:
        try:
            if httpx.get(f"{url}/health/liveliness", timeout=5).status_code == 200:
                return url
        except httpx.HTTPError:
            pass
        time.sleep(0.2)  # noqa: TID251 - another process is starting
    raise RuntimeError(f"the Proxy did not answer within {READY_S:.0f} s")


async def talk(url: str) -> int:
    """Forty calls at once, of three kinds; how many were answered."""
    async with AsyncOpenAI(api_key=MASTER_KEY, base_url=f"{url}/v1", max_retries=0, timeout=60) as client:
        calls = [chat(client) for _ in range(16)]
        calls += [stream(client) for _ in range(12)]
        calls += [embed(client) for _ in range(12)]
        return sum(await asyncio.gather(*calls))


async def chat(client: AsyncOpenAI) -> bool:
    messages = [{"role": "user", "content": "What does the sea say?"}]
    reply = await client.chat.completions.create(model="chat", messages=messages, max_tokens=20)
    return bool(reply.choices[0].message.content)


async def stream(client: AsyncOpenAI) -> bool:
    messages = [{"role": "user", "content": "And the wind?"}]
    pieces = await client.chat.completions.create(model="chat", messages=messages, max_tokens=20, stream=True)
    return len([piece async for piece in pieces if piece.choices and piece.choices[0].delta.content]) > 0


async def embed(client: AsyncOpenAI) -> bool:
    reply = await client.embeddings.create(model="embed", input="the sea")
    return len(reply.data) == 1


def report(url: str, world: World) -> None:
    """What each key got, as the provider saw it, and one decision explained."""
    asked = httpx.Client(base_url=url, headers={"authorization": f"Bearer {MASTER_KEY}"})
    states = {key["id"]: key["state"] for key in asked.get("/apikeyrouter/state").json()["keys"]}
    for name, mine in (("a1", "key-a"), ("b1", "key-b"), ("c1", "key-c")):
        counted = world.key(name).counters
        print(f"{mine}: {counted.admitted} served, {counted.throttled} throttled, {states[mine]}")
    body = {"model": "chat", "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 5}
    decision = asked.post("/v1/chat/completions", json=body).headers["x-apikeyrouter-decision"]
    print(asked.get(f"/apikeyrouter/decisions/{decision}").json()["text"])


def main() -> int:
    world = simulated_world()
    with serve(world, thread=True) as provider, proxy(HERE / "config.yaml", environment(world, provider)) as url:
        answered = asyncio.run(talk(url))
        print(f"{answered} of 40 calls answered")
        report(url, world)
    return 0 if answered == 40 else 1


if __name__ == "__main__":
    sys.exit(main())
