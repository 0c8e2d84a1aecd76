"""What the LangChain door adds to the bare inner model, both in one run, alternating: CPU time of the calling thread.

    .venv-langchain/bin/python benchmarks/langchain_overhead.py

CPU time rather than wall time, because the simulator answers from another thread of the same process.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from langchain_rig import inner, pool
from langchain_stage import AttentiveApp, Sim, world

from apikeyrouter.langchain import ChatApiKeyRouter
from apikeyrouter.simulator import serve

ROUNDS = 300
PROMPT = "Tell me about it"


def get_thing(city: str) -> str:
    """The thing."""
    return city


def compare(name: str, bare: Callable[[], object], ours: Callable[[], object]) -> None:
    """Print both medians in milliseconds and what ours adds."""
    times: dict[Callable[[], object], list[float]] = {bare: [], ours: []}
    for turn in range(ROUNDS + 30):
        for call in (bare, ours) if turn % 2 else (ours, bare):
            started = time.thread_time()
            call()
            if turn >= 30:
                times[call].append(time.thread_time() - started)
    a, b = statistics.median(times[bare]), statistics.median(times[ours])
    print(f"{name:8} bare {a * 1e3:6.2f} ms   ours {b * 1e3:6.2f} ms   {(b / a - 1) * 100:+5.1f} %")


def main() -> None:
    made = world()
    with serve(AttentiveApp(made), thread=True) as url:
        sim = Sim(made, url)
        bare: Any = inner(sim, "o-ok").model_copy(update={"stream_usage": True})
        ours: Any = ChatApiKeyRouter(deployments=pool(sim, ["o-ok"]))
        compare("invoke", lambda: bare.invoke(PROMPT), lambda: ours.invoke(PROMPT))
        compare("stream", lambda: list(bare.stream(PROMPT)), lambda: list(ours.stream(PROMPT)))
        bound = bare.bind_tools([get_thing]), ours.bind_tools([get_thing])
        compare("tools", lambda: bound[0].invoke(PROMPT), lambda: bound[1].invoke(PROMPT))


if __name__ == "__main__":
    main()
