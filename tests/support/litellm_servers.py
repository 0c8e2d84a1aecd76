"""`litellm --config` as servers run it: one process or several, of whichever server, with a log that can be read."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import httpx
from litellm_example import EXAMPLE, example

from apikeyrouter.litellm.workers import warning
from apikeyrouter.simulator import serve

HELLO = {"model": "chat", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}
STARTS_S, TAKES_S, ENDS_S = 180.0, 280.0, 30.0
"""On an idle machine three processes that import LiteLLM need 20 s."""
QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "TIMEOUT_WORKER_HEALTHCHECK": "100"}
"""uvicorn ends a worker that does not answer within 5 s, and a busy machine takes longer to import LiteLLM."""


@dataclass(frozen=True, slots=True)
class Server:
    """A Proxy of the example's configuration, which counts how it is called."""

    url: str
    key: str
    log: Path

    def told(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    async def engines(self) -> set[str]:
        """Which engines served eight chats at once, each over a connection of its own; each numbers its decisions
        by a prefix of its own."""
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {self.key}"}, timeout=60) as client:
            calls = (client.post(f"{self.url}/v1/chat/completions", json=HELLO) for _ in range(8))
            answers = await asyncio.gather(*calls)
        return {answer.headers["x-apikeyrouter-decision"][: len("dec_1234567")] for answer in answers}


@contextmanager
def server(log: Path, *options: str) -> Iterator[Server]:
    """The example's Proxy with these options, over the simulated provider; all its processes have ended afterwards."""
    faulthandler.dump_traceback_later(TAKES_S, exit=True, file=2)  # a test of one process has less
    run = example()
    run.READY_S = STARTS_S  # type: ignore[attr-defined]
    world = run.simulated_world()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [str(Path(sys.executable).with_name("litellm")), "--config", str(EXAMPLE / "config.yaml")]
    with serve(world, thread=True) as provider, log.open("wb") as written:
        given = {name: value for name, value in os.environ.items() if name not in ("NUM_WORKERS", "WEB_CONCURRENCY")}
        variables = {**given, **QUIET, **run.environment(world, provider)}
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", port, *options],
            env=variables,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield Server(run.ready(process, f"http://127.0.0.1:{port}"), run.MASTER_KEY, log)
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server, and whatever it has made of itself: its session is its own."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(ENDS_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(ENDS_S)


def tell(answers: SimpleQueue[str | None], over: SimpleQueue[None]) -> None:
    """A worker: what it would write into its log, and then it lives until it is over."""
    answers.put(warning())
    over.get()
