"""How commands end: exit codes, one sentence instead of a traceback, errors as JSON, pipes that close."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from commands import START, Command

from apikeyrouter.cli.output import Leave, told
from apikeyrouter.cli.page import Line, Table, bar, count, dollars, plain
from apikeyrouter.errors import (
    ApiKeyRouterError,
    InvalidConfigurationError,
    MissingConfigurationError,
    MissingDependencyError,
)

CANARY = "sk-canary-9f8e7d6c5b4a39281706"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ApiKeyRouterError("No."), 1, "No.\n"),
        (InvalidConfigurationError("Wrong."), 3, "Wrong.\n"),
        (MissingConfigurationError("Gone."), 3, "Gone.\n"),
        (MissingDependencyError("Install it."), 4, "Install it.\n"),
        (FileNotFoundError(2, "No such file or directory", "x.txt"), 1, "No such file or directory: x.txt.\n"),
        (OverflowError("by 1"), 70, "A fault in apikeyrouter itself (OverflowError: by 1); please report it.\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
    ],
)  # fmt: skip
def test_every_end_has_its_code_and_its_sentence(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Leave) as left, told(as_json=False):
        raise error
    assert (left.value.code, capsys.readouterr().err) == (code, said)


def test_a_fault_repeats_no_key(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Leave), told(as_json=False):
        raise ValueError(f"unexpected {CANARY}")
    assert CANARY not in capsys.readouterr().err


def test_errors_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Leave), told(as_json=True):
        raise InvalidConfigurationError("Two.", problems=("one", "two"))
    found = json.loads(capsys.readouterr().out)
    assert found == {
        "error": {
            "type": "InvalidConfigurationError",
            "message": "Two.",
            "code": "INVALID_CONFIGURATION",
            "problems": ["one", "two"],
        }
    }


def test_a_bad_configuration_in_a_real_process(process: Command, folder: Path) -> None:
    (folder / "apikeyrouter.yaml").write_text("provders: {}\nkeys: {k: {secret: " + CANARY + "}}\n")
    done = process("status")
    assert (done.code, done.out) == (3, "")
    assert "apikeyrouter.yaml:1: provders: is not known here; did you mean 'providers'?" in done.err
    assert "Traceback" not in done.err
    assert CANARY not in done.err


def test_usage_errors(process: Command) -> None:
    done = process("explain")
    assert done.code == 2
    assert "--model" in done.err
    assert process("fly").code == 2


def test_without_its_libraries_it_says_what_to_install(process: Command) -> None:
    done = process("status", code=f"import sys; sys.modules['typer'] = None; {START}")
    assert (done.code, done.out) == (4, "")
    assert done.err == "The command line needs typer and rich; install them with: pip install 'apikeyrouter[cli]'\n"


def test_without_the_server_of_the_simulator(process: Command) -> None:
    done = process("demo", "--quick", code=f"import sys; sys.modules['uvicorn'] = None; {START}")
    assert done.code == 4
    assert "pip install 'apikeyrouter[proxy]'" in done.err
    assert "Traceback" not in done.err


def test_a_pipe_that_closes_early(folder: Path, config: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-c", START, "status"],
            cwd=folder,
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == b""


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_simulate_until_interrupted(folder: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-c", START, "simulate", "--port", "0"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stdout is not None
        url = running.stdout.readline().split()[3]
        state = httpx.get(f"{url}/_sim/state", timeout=10).json()
        assert "org-a" in state["organisations"]
    finally:
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=20)
    assert (running.returncode, err) == (0, "")


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are POSIX's")
def test_a_person_sees_colours_and_a_pipe_does_not(folder: Path, config: Path, process: Command) -> None:
    leader, follower = os.openpty()
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    environ.pop("NO_COLOR", None)
    with os.fdopen(leader, "rb", buffering=0) as terminal:
        with os.fdopen(follower, "wb") as end:
            subprocess.run(
                [sys.executable, "-c", START, "status"], cwd=folder, env=environ, stdout=end, timeout=60, check=True
            )
        shown = b""
        try:
            while piece := terminal.read(65_536):
                shown += piece
        except OSError:  # how a terminal says that nobody writes any more
            pass
    assert b"\x1b[32mavailable" in shown
    assert "\x1b" not in process("status").out


# -- pages -------------------------------------------------------------------------------------------------------------


def test_a_plain_page_is_aligned_and_whole() -> None:
    rows = [("a", "1", "x" * 200), ("long-name", "1,000", "")]
    page: list[Line | Table] = [Line("Title"), Table(("key", "count", "what"), rows, "Rows", frozenset({1}))]
    assert plain(page).splitlines() == [
        "Title",
        "Rows",
        "  key        count  what",
        f"  a              1  {'x' * 200}",
        "  long-name  1,000",
        "",
    ]


def test_a_drawn_page_says_the_same() -> None:
    from apikeyrouter.cli.screen import Moving, draw

    page: list[Line | Table] = [Line("Title", "title"), Table(("key", "state"), [("k1", "available")], "Keys")]
    out = io.StringIO()
    draw(page, out)
    assert {"Title", "Keys", "k1", "available"} <= set(out.getvalue().split())
    with Moving(io.StringIO()) as show:
        show(page)


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (1234567, "1,234,567"), (1.25, "1.2"), (99.94, "99.9"), (float("inf"), "-")]
)
def test_counts(number: float, text: str) -> None:
    assert count(number) == text


def test_amounts_and_bars() -> None:
    from decimal import Decimal

    assert [dollars(Decimal(text)) for text in ("0", "12.5", "0.00012", "0.0000123")] == [
        "$0",
        "$12.5000",
        "$0.0001",
        "$0.000012",
    ]
    assert dollars(Decimal("12.5"), 2) == "$12.50"
    assert [bar(share, 4) for share in (0.0, 0.5, 1.0, 1.7)] == ["░░░░   0%", "██░░  50%", "████ 100%", "████ 170%"]
