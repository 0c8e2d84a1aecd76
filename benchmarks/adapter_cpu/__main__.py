"""What the adapter and the engine cost a request over plain httpx: CPU time of the client's process, in one run.

    python benchmarks/adapter_cpu                    a table; exit code 1 where ours takes more than 1.25 of httpx
    python benchmarks/adapter_cpu --requests 4000    of each kind (default 1600), in alternating batches

Both sides send the same request to the same server, parse the answer, take its text and usage, and are checked. httpx
is used as its manual says: one client, `post` and `json()`, or `stream` and `aiter_lines()`. Ours is `router.route()`
and `router.stream()` with limits, prices, a hard budget and a record of every decision. What counts is the
median ratio of a batch of ours to the batch of httpx's beside it: both met the same machine, and the pools of
connections, which both have of the same library, take more or fewer turns from batch to batch.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import httpx
from grounds import machine
from server import TEXT, USAGE

from apikeyrouter import ApiKeyRouter, Budget, Limit, OpenAIAdapter

SERVER = Path(__file__).resolve().parent / "server.py"
MOST = 1.25
BATCH = 64
TEXTS = ["You answer briefly and to the point.", "word " * 160, "Thank you. " * 8, "Now say it again, please."]
ROLES = ["system", "user", "assistant", "user"]
BODY = {
    "model": "gpt-4o-mini",
    "messages": [{"role": role, "content": text} for role, text in zip(ROLES, TEXTS, strict=True)],
    "max_tokens": 200,
    "temperature": 0.2,
}
STREAMED = {**BODY, "stream": True, "stream_options": {"include_usage": True}}
Ask = Callable[[], Awaitable[None]]


@contextmanager
def provider() -> Iterator[str]:
    """The server in its own process; its base address."""
    running = subprocess.Popen([sys.executable, str(SERVER)], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    try:
        yield f"http://127.0.0.1:{running.stdout.readline().strip()}/v1"
    finally:
        running.terminate()
        running.wait()


def right(text: str, read: int, written: int) -> None:
    """An answer that was not understood proves nothing."""
    assert text == TEXT
    assert (read, written) == (USAGE["prompt_tokens"], USAGE["completion_tokens"])


class Bare:
    """httpx alone."""

    def __init__(self, url: str) -> None:
        self.url = f"{url}/chat/completions"
        limits = httpx.Limits(max_connections=1000, max_keepalive_connections=200)
        self.client = httpx.AsyncClient(headers={"authorization": "Bearer sk-benchmark-0"}, limits=limits, timeout=60)

    async def whole(self) -> None:
        response = await self.client.post(self.url, json=BODY)
        response.raise_for_status()
        answer = response.json()
        used = answer["usage"]
        right(answer["choices"][0]["message"]["content"], used["prompt_tokens"], used["completion_tokens"])

    async def streamed(self) -> None:
        parts, used = [], {}
        async with self.client.stream("POST", self.url, json=STREAMED) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    event = json.loads(line[6:])
                    used = event["usage"] or used
                    parts += [choice["delta"].get("content") or "" for choice in event["choices"]]
        right("".join(parts), used["prompt_tokens"], used["completion_tokens"])


class Ours:
    """The router over its OpenAI adapter."""

    def __init__(self, url: str) -> None:
        self.router = ApiKeyRouter(budgets=[Budget(scope="global", limit="1000", period="day", mode="hard")], log=False)
        enrolment = self.router.enrolment
        enrolment.add_provider("openai", OpenAIAdapter(url), price_name="openai")
        limits = (Limit.rpm(30_000), Limit.tpm(150_000_000), Limit.rpd(10**9))
        for number in range(3):
            enrolment.add_key(f"sk-benchmark-{number:08d}", "openai", {"id": f"k{number}", "limits": limits})

    async def whole(self) -> None:
        reply = await self.router.route(BODY)
        used = reply.usage
        assert used is not None
        assert isinstance(reply.content, str)
        right(reply.content, used.input_tokens, used.output_tokens)

    async def streamed(self) -> None:
        stream = self.router.stream(BODY)
        text = "".join([chunk.text async for chunk in stream])
        assert stream.usage is not None
        right(text, stream.usage.input_tokens, stream.usage.output_tokens)


async def batch(ask: Ask, in_flight: int) -> float:
    """CPU seconds of one request, over a batch with so many in flight."""

    async def worker(times: int) -> None:
        for _ in range(times):
            await ask()

    share = max(1, BATCH // in_flight)
    started = time.process_time()
    await asyncio.gather(*(worker(share) for _ in range(in_flight)))
    return (time.process_time() - started) / (share * in_flight)


@dataclass(frozen=True)
class Result:
    """CPU seconds of a request (medians of batches), and ours by httpx's (median of pairs of batches)."""

    name: str
    bare_s: float
    ours_s: float
    ratio: float


async def compare(name: str, bare: Ask, ours: Ask, in_flight: int, requests: int) -> Result:
    """Batches by turns, the order of a pair changing; the first pairs only warm up."""
    times: list[tuple[float, float]] = []
    for turn in range(requests // BATCH + 4):
        if turn % 2:
            a, b = await batch(bare, in_flight), await batch(ours, in_flight)
        else:
            b, a = await batch(ours, in_flight), await batch(bare, in_flight)
        if turn >= 4:
            times.append((a, b))
    a, b = (median(side) for side in zip(*times, strict=True))
    return Result(name, a, b, median(ours_s / bare_s for bare_s, ours_s in times))


async def measure(url: str, requests: int) -> list[Result]:
    bare, ours = Bare(url), Ours(url)
    found = []
    for in_flight in (1, 16):
        found.append(await compare(f"whole, {in_flight} in flight", bare.whole, ours.whole, in_flight, requests))
        found.append(
            await compare(f"streamed, {in_flight} in flight", bare.streamed, ours.streamed, in_flight, requests)
        )
    await bare.client.aclose()
    await ours.router.aclose()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_600)
    parser.add_argument("--json", action="store_true", help="one line of JSON: ratios by name")
    options = parser.parse_args()
    with provider() as url:
        results = asyncio.run(measure(url, options.requests))
    if options.json:
        print(json.dumps({result.name: result.ratio for result in results}))
        return 0
    print(f"CPU time per request on {machine()}, httpx {httpx.__version__}")
    print("| request | httpx | adapter and engine | ratio |\n|--|--:|--:|--:|")
    for each in results:
        print(f"| {each.name} | {each.bare_s * 1e6:,.0f} us | {each.ours_s * 1e6:,.0f} us | {each.ratio:.2f} |")
    return int(any(each.ratio > MOST for each in results))


if __name__ == "__main__":
    sys.exit(main())
