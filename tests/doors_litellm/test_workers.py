"""Several workers of one Proxy count each for themselves, and one of them says so; one worker says nothing."""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
from inspect import getsource
from pathlib import Path

import pytest
from litellm.proxy import proxy_cli
from litellm_servers import server, tell
from litellm_stage import until

from apikeyrouter.litellm.workers import count, is_worker, place, sentence

MANY = "workers of this Proxy route, and each counts for itself"
SERVES_S = 60.0
TELLS = 'os.environ["NUM_WORKERS"]' in getsource(proxy_cli)
"""Whether this LiteLLM tells its workers how many they are; 1.100 does not."""


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="uvicorn"),
        pytest.param(("--run_gunicorn",), id="gunicorn", marks=pytest.mark.torture),
        pytest.param(("--run_granian",), id="granian", marks=pytest.mark.torture),
    ],
)
async def test_of_two_workers_one_warns_once(tmp_path: Path, options: tuple[str, ...]) -> None:
    with server(tmp_path / "log", "--num_workers", "2", *options) as two:
        engines = await two.engines()
        async with asyncio.timeout(SERVES_S):
            while len(engines) < 2:
                engines |= await two.engines()
        await until(lambda: MANY in two.told())
        told = two.told()
    assert told.count(MANY) == 1
    assert sentence(2 if TELLS else None) in told


async def test_one_worker_does_not_warn(tmp_path: Path) -> None:
    with server(tmp_path / "log", "--num_workers", "1") as one:
        engines = await one.engines()
        told = one.told()
    assert len(engines) == 1
    assert MANY not in told


def test_the_warning_names_the_number_what_it_means_and_what_to_do() -> None:
    assert sentence(3).startswith("3 workers")
    assert "every limit and budget 3 times" in sentence(3)
    assert "--num_workers 1" in sentence(3)
    assert sentence(None).startswith("At least 2 workers")


@pytest.mark.parametrize(
    ("environment", "workers"),
    [
        ({"NUM_WORKERS": "4"}, 4),
        ({"NUM_WORKERS": "1", "WEB_CONCURRENCY": "2"}, 2),
        ({"WEB_CONCURRENCY": "3"}, 3),
        ({"NUM_WORKERS": "1"}, None),
        ({"NUM_WORKERS": "many"}, None),
        ({}, None),
    ],
)
def test_the_servers_say_how_many_workers_there_are(environment: dict[str, str], workers: int | None) -> None:
    assert count(environment) == workers


def test_the_second_worker_of_a_server_warns_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUM_WORKERS", "3")
    spawning = multiprocessing.get_context("spawn")
    answers, over = spawning.SimpleQueue(), spawning.SimpleQueue()
    workers, heard = [spawning.Process(target=tell, args=(answers, over)) for _ in range(3)], []
    for worker in workers:
        worker.start()
        heard.append(answers.get())
    for _ in workers:
        over.put(None)
    for worker in workers:
        worker.join(30)
    assert heard == [None, sentence(3), None]


def test_a_process_that_no_server_has_made_is_no_worker() -> None:
    assert "gunicorn.arbiter" not in sys.modules
    assert not is_worker()


def test_places_are_told_apart_by_the_server(tmp_path: Path) -> None:
    assert [place(4711, tmp_path) for _ in range(4)] == [0, 1, 2, 2]
    assert place(4712, tmp_path) == 0
