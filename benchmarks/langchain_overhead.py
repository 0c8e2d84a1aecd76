"""What the LangChain door adds to the bare inner model: `.venv-langchain/bin/python benchmarks/langchain_overhead.py`.

The simulator runs in a process of its own, so that its work is not counted as either's. Both models talk to it with one
key each, in turns, batch by batch, and a batch is told as the time of one of its calls: the wall's, and the CPU's of
this process with all its threads. Two latencies: none, where all that is left is the machine's own work, and the
demonstration's (80 ms, then 3 ms a token), which stands for a provider. Ends with 1 if ours adds more than 5 % to the
wall's time at the demonstration's latency.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from langchain_openai import ChatOpenAI

from apikeyrouter.langchain import ChatApiKeyRouter
from apikeyrouter.simulator import Latency, Organisation, OutputLength, World, WorldSpec, limits, serve

PROMPT = "Tell me about the sea"
MODEL = "gpt-4o-mini"
MOST = 0.05
LATENCIES = {"none": Latency(), "demonstration": Latency(first_s=0.08, per_token_s=0.003)}


def get_thing(city: str) -> str:
    """The thing."""
    return city


def provider(latency: Latency, told: Connection) -> None:
    """A process that serves a world until its parent hangs up."""
    plenty = limits(rpm=1_000_000)
    both = tuple(Organisation(id=f"org-{key}", keys=(key,), limits=plenty) for key in ("bare", "ours"))
    world = World(WorldSpec(organisations=both, latency=latency, output=OutputLength(tokens=32)))
    with serve(world, thread=True) as url:
        told.send((f"{url}/v1", world.secret("bare"), world.secret("ours")))
        told.poll(None)


@contextmanager
def served(latency: Latency) -> Iterator[tuple[str, str, str]]:
    """The address and both keys of a world in another process."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=provider, args=(latency, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours.recv()
    finally:
        ours.close()
        process.join(timeout=10)


@dataclass
class Times:
    """Seconds of one call, by batch."""

    wall: list[float]
    cpu: list[float]


def batch(call: Callable[[], object], size: int, into: Times) -> None:
    """Time `size` calls."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(size):
        call()
    into.cpu.append((time.process_time() - cpu) / size)
    into.wall.append((time.perf_counter() - wall) / size)


def compare(bare: Callable[[], object], ours: Callable[[], object], batches: int, size: int) -> tuple[Times, Times]:
    """Both in turns; who begins changes from batch to batch. The first batch of each is not counted."""
    times = {bare: Times([], []), ours: Times([], [])}
    for turn in range(batches + 1):
        for call in (bare, ours) if turn % 2 else (ours, bare):
            batch(call, size, times[call] if turn else Times([], []))
    return times[bare], times[ours]


def line(name: str, latency: str, what: str, bare: list[float], ours: list[float]) -> float:
    """Print one row of the table; what ours adds to the median, as a fraction."""
    medians = statistics.median(bare), statistics.median(ours)
    least = min(bare), min(ours)
    added, added_least = medians[1] / medians[0] - 1, least[1] / least[0] - 1
    cells = [f"{seconds * 1e3:.2f} ms" for seconds in (*medians, *least)]
    row = (name, latency, what, *cells[:2], f"{added:+.1%}", *cells[2:], f"{added_least:+.1%}")
    print(f"| {' | '.join(row)} |", flush=True)
    return added


def models(url: str, bare_key: str, our_key: str) -> tuple[Any, Any]:
    """The bare model as a pool would have it (usage on streams), and ours over one of the same."""
    made: Any = [ChatOpenAI(model=MODEL, api_key=key, base_url=url, stream_usage=True) for key in (bare_key, our_key)]
    return made[0], ChatApiKeyRouter.from_models([made[1]])


def calls(bare: Any, ours: Any) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """What is compared, by name."""
    tools = bare.bind_tools([get_thing]), ours.bind_tools([get_thing])
    return {
        "invoke": (lambda: bare.invoke(PROMPT), lambda: ours.invoke(PROMPT)),
        "stream": (lambda: list(bare.stream(PROMPT)), lambda: list(ours.stream(PROMPT))),
        "tools bound": (lambda: tools[0].invoke(PROMPT), lambda: tools[1].invoke(PROMPT)),
    }


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=21)
    parser.add_argument("--latency", choices=[*LATENCIES, "both"], default="both")
    given = parser.parse_args()
    print("| call | latency | time | bare | ours | added | shortest bare | shortest ours | added |")
    print("|--|--|--|--:|--:|--:|--:|--:|--:|")
    worst = 0.0
    for latency in LATENCIES if given.latency == "both" else (given.latency,):
        size = 20 if latency == "none" else 3
        with served(LATENCIES[latency]) as (url, *keys):
            for name, (bare, ours) in calls(*models(url, *keys)).items():
                b, o = compare(bare, ours, given.batches, size)
                added = line(name, latency, "wall", b.wall, o.wall)
                line(name, latency, "CPU", b.cpu, o.cpu)
                if latency != "none":
                    worst = max(worst, added)
    return int(worst > MOST)


if __name__ == "__main__":
    sys.exit(main())
