"""Records cassettes/ anew: from the simulator, or with --real from the providers, with the user's own keys.

    python scripts/record_cassettes.py                       everything that needs no key
    python scripts/record_cassettes.py --real openai groq    chat, stream, tools and a refused key, from the provider
    python scripts/record_cassettes.py --langchain           LangChain's standard tests (needs make doors)

From the simulator the same exchanges come out every time, and a file whose exchanges have not changed is not touched.
Documented cassettes keep their answers, which were written by hand after the provider's documentation; only the
requests to which they belong are recorded again. What is recorded from a provider costs a few hundred tokens, replaces
the simulator's file of that name, and says `origin: recorded`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, MutableMapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from tape import CASSETTES, Label, interactions, label_of, recording
from tape_scenes import ASKS, AT, KEYS, MATERIALS, PROVIDERS, SCENES, Scene, answered, call_of, moment, world_of

from apikeyrouter.adapters.http import Transport
from apikeyrouter.simulator import SimulatorApp
from apikeyrouter.simulator.turn import ConnectionDroppedError
from run_tests import LANGCHAIN_FROM_CASSETTES as LANGCHAIN

ROOT: Final = CASSETTES.parent
WRONG_KEY: Final = "sk-made-up-0000000000000000000000000000"
Answering = Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]


def main(argv: Sequence[str] | None = None) -> int:
    """Records what the arguments name, and says which files there are; returns the exit code."""
    parser = argparse.ArgumentParser(description="Record the cassettes anew.")
    parser.add_argument("--real", nargs="+", default=(), metavar="PROVIDER", help="from these providers, with keys")
    parser.add_argument("--to", type=Path, default=CASSETTES, metavar="FOLDER", help="where (default: cassettes/)")
    parser.add_argument("--langchain", action="store_true", help="what LangChain's standard tests ask and are told")
    options = parser.parse_args(argv)
    if options.langchain:
        return record_langchain()
    unknown = [name for name in options.real if not (name in PROVIDERS and PROVIDERS[name].variable)]
    if unknown:
        able = ", ".join(name for name, provider in PROVIDERS.items() if provider.variable)
        print(f"no real recording of {', '.join(unknown)}: name some of {able}.")
        return 2
    missing = [PROVIDERS[name].variable for name in options.real if not os.environ.get(PROVIDERS[name].variable)]
    if missing:
        print(f"set {', '.join(missing)} to a key of your own; it is used for a few small requests and not stored.")
        return 2
    made = asyncio.run(record_real(options.to, options.real) if options.real else record(options.to))
    print(f"{made} cassettes recorded to {options.to.name}/")
    return 0


def record_langchain() -> int:
    """Runs the standard tests in their own environment against the simulator, recording; returns pytest's exit code."""
    python = ROOT / ".venv-langchain" / "bin" / "python"
    return subprocess.call([python, "-m", "pytest", "-q", "-W", "default", "--cassettes=record", *LANGCHAIN], cwd=ROOT)


async def record(to: Path) -> int:
    """Everything that needs no key; returns how many files."""
    made = 0
    for provider, scenes in SCENES.items():
        for name, scene in scenes.items():
            path = to / provider / f"{name}.yaml"
            if not path.exists() or label_of(path).origin == "simulator":
                await record_simulated(path, provider, scene)
                made += 1
    for path in documented(to):
        await record_documented(path)
        made += 1
    return made


def documented(to: Path) -> Iterator[Path]:
    """The files that were written after documentation."""
    files = sorted(path for provider in PROVIDERS for path in (to / provider).glob("*.yaml"))
    return (path for path in files if label_of(path).origin == "documented")


async def record_simulated(path: Path, provider: str, scene: Scene) -> None:
    """A scene, asked by the project's own adapter at the provider's own address; the simulator answers."""
    dialect = PROVIDERS[provider].dialect
    world = world_of(scene, dialect)
    label = Label(
        origin="simulator",
        source=f"apikeyrouter.simulator, dialect {dialect}",
        date=_today(),
        at=AT,
        asks=scene.asks,
        about=scene.about,
    )
    keys = {world.secret(name): name for name in KEYS}
    await _record(path, label, provider, keys, httpx.MockTransport(in_process(SimulatorApp(world))))


async def record_documented(path: Path) -> None:
    """The same answers as before, to the requests that the adapter sends now."""
    told = [each["response"] for each in interactions(path)]
    keys = dict(list(MATERIALS.items())[: len(told)])
    left = iter(told)

    async def answer(request: httpx.Request) -> httpx.Response:
        response = next(left)
        headers = [(name, value) for name, values in response["headers"].items() for value in values]
        body = response["body"]["string"]
        content = body.encode() if isinstance(body, str) else body
        return httpx.Response(response["status"]["code"], headers=headers, stream=httpx.ByteStream(content))

    await _record(path, label_of(path), path.parent.name, keys, httpx.MockTransport(answer))


async def record_real(to: Path, providers: Sequence[str]) -> int:
    """What can be provoked without cost: answers of every kind, and a key that is refused before one that is not."""
    made = 0
    for name in providers:
        provider = PROVIDERS[name]
        key = os.environ[provider.variable]
        for asks in (*provider.asks, "unauthorized"):
            ask = "chat" if asks == "unauthorized" else asks
            about = "The first key is not valid, the second one serves." if asks == "unauthorized" else f"{ask}."
            now = datetime.now(UTC)
            label = Label(
                origin="recorded",
                source=f"{name}, model {provider.model}",
                date=_today(),
                at=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
                asks=ask,
                about=about,
            )
            keys = {WRONG_KEY: "first", key: "second"} if asks == "unauthorized" else {key: "first"}
            await _record(to / name / f"{asks}.yaml", label, name, keys, None)
            made += 1
    return made


async def _record(
    path: Path, label: Label, provider: str, keys: Mapping[str, str], transport: Transport | None
) -> None:
    """Ask with one key after the other until one is served, or the answer had begun."""
    path.parent.mkdir(parents=True, exist_ok=True)
    served, ask, at = PROVIDERS[provider], ASKS[label.asks], moment(label.at)
    adapter = served.make(lambda: at, transport)
    with recording(path, label, keys):
        for material in keys:
            answer, chunks = await answered(adapter, call_of(served, ask, material), streams=ask.streams)
            failed = answer.failure is not None or any(chunk.failure is not None for chunk in chunks)
            if not failed or any(chunk.content for chunk in chunks):
                break
        await adapter.aclose()


def in_process(app: SimulatorApp) -> Answering:
    """Asks an ASGI application without a socket. A connection that it breaks gives what had come by then."""

    async def answer(request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        sent: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, object]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: MutableMapping[str, object]) -> None:
            sent.append(message)

        scope: MutableMapping[str, object] = {
            "type": "http",
            "method": request.method,
            "path": request.url.path,
            "query_string": request.url.query,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
        }
        with suppress(ConnectionDroppedError):
            await app(scope, receive, send)
        content_of_answer = b"".join(message.get("body", b"") for message in sent[1:])
        return httpx.Response(sent[0]["status"], headers=sent[0]["headers"], stream=httpx.ByteStream(content_of_answer))

    return answer


def _today() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")


if __name__ == "__main__":
    sys.exit(main())
