"""LangChain's standard tests from cassettes: each class has one, and then no server and no network is needed.

    .venv-langchain/bin/python scripts/record_cassettes.py --langchain      records cassettes/langchain anew

A class asks the same things many times, so a cassette holds each request once for each key and plays it as often as it
comes. Headers that neither the door nor the tests look at are left out, and equal parts are written once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any, Final

from langchain_stage import AttentiveApp, Sim, world
from sealed import sealed
from tape import CASSETTES, SECRET_HEADERS, Cleaner, Label, anew, player
from vcr.request import Request

from apikeyrouter.simulator import VirtualClock, World, serve

FOLDER: Final = CASSETTES / "langchain"
PORT: Final = 8917
"""Where the simulator listens while a recording is made; a replay names the same address, where nobody is."""
AT: Final = "2026-01-01T00:00:00Z"
UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
"""What some tests make up anew in every run, as the name of a tool's call."""
KEPT: Final = frozenset({*SECRET_HEADERS, "content-type", "retry-after", "retry-after-ms", "x-should-retry"})


@contextmanager
def staged(mode: str | None) -> Iterator[Sim]:
    """The world of the standard tests: served on a free port, on the recordings' port, or (replay) not at all."""
    app = AttentiveApp(world())
    if mode == "replay":
        with sealed():
            yield Sim(app.world, f"http://127.0.0.1:{PORT}")
        return
    if mode == "record":
        app.world.clock = VirtualClock(datetime.fromisoformat(AT).timestamp())
    with serve(app, thread=True, port=PORT if mode == "record" else 0) as url:
        yield Sim(app.world, url)


@contextmanager
def cassette_of(name: str, sim: World, mode: str | None) -> Iterator[None]:
    """While a class runs, its cassette answers (replay), or learns what is asked (record)."""
    if mode is None:
        yield
        return
    clean = Spare({sim.secret(key): key for key in sim.keys})
    label = Label(
        origin="simulator",
        source="apikeyrouter.simulator, dialects openai and anthropic, by langchain-tests",
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        at=AT,
        asks="the standard tests",
        about=f"What {name} asks and is told.",
    )
    path = FOLDER / f"{name}.yaml"
    recorded = "new_episodes" if mode == "record" else "none"
    with (
        anew(path) if mode == "record" else nullcontext(),
        player(clean, label).use_cassette(str(path), record_mode=recorded, allow_playback_repeats=True),
    ):
        yield


class Spare(Cleaner):
    """Leaves out every header that nobody needs; what is made up anew in every run is always the same."""

    def request(self, request: Request) -> Request:
        """A request without secrets, with few headers."""
        found = super().request(request)
        found.headers = {name: value for name, value in found.headers.items() if name.lower() in KEPT}
        return found

    def text(self, text: str, owners: list[str] | None = None) -> str:
        """A text without materials, accounts and random identifiers."""
        return UUID.sub("00000000-0000-0000-0000-000000000000", super().text(text, owners))

    def response(self, response: dict[str, Any]) -> dict[str, Any]:
        """An answer without secrets, with few headers."""
        found = super().response(response)
        found["headers"] = {name: values for name, values in found["headers"].items() if name.lower() in KEPT}
        return found
