"""One way out for every command: a page for people, JSON for programs, one sentence and a code for what goes wrong.

No traceback ever reaches a user. Errors go to stderr, and with `--json` as an object to stdout, so that a program that
reads the output always gets JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from importlib.util import find_spec
from typing import TextIO

from apikeyrouter.cli.codes import CONFIGURATION, FAILED, FAULT, INTERRUPTED, MISSING
from apikeyrouter.cli.page import Page, plain
from apikeyrouter.core.scrub import sentence
from apikeyrouter.errors import (
    ApiKeyRouterError,
    ConfigurationError,
    InvalidConfigurationError,
    MissingDependencyError,
)

Data = Mapping[str, object]


class Leave(Exception):  # noqa: N818 - not an error: the command is over
    """End the command with a code; what is to be said has been said."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Output:
    """Where a command shows what it found. `as_json`: only the data, to stdout."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json

    @property
    def terminal(self) -> bool:
        """Whether a person is looking, and there is something to draw with."""
        looking = not self.as_json and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        return looking and find_spec("rich") is not None

    def show(self, page: Page, data: Data) -> None:
        """The page, or with --json the data."""
        if self.as_json:
            sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, default=_plain_value) + "\n")
        elif self.terminal:
            from apikeyrouter.cli.screen import draw  # Rich only for somebody who looks

            draw(page, sys.stdout)
        else:
            _write(sys.stdout, plain(page))
        sys.stdout.flush()

    def say(self, text: str) -> None:
        """A line of progress for people; nothing with --json."""
        if not self.as_json:
            _write(sys.stdout, text + "\n")
            sys.stdout.flush()

    def fail(self, error: BaseException, code: int) -> None:
        """Say what went wrong."""
        told = error.message if isinstance(error, ApiKeyRouterError) else _fault(error)
        if self.as_json:
            what = {"type": type(error).__name__, "message": told, **_more(error)}
            sys.stdout.write(json.dumps({"error": what}, indent=2, ensure_ascii=False) + "\n")
            sys.stdout.flush()
        else:
            _write(sys.stderr, told + "\n")


def _write(to: TextIO, text: str) -> None:
    """Text to a stream that may not know every character."""
    encoding = getattr(to, "encoding", None) or "utf-8"
    to.write(text.encode(encoding, "replace").decode(encoding))


@contextmanager
def told(*, as_json: bool) -> Iterator[Output]:
    """Run a command; whatever it raises becomes a sentence and `Leave` with the code for it."""
    out = Output(as_json=as_json)
    try:
        yield out
    except (Leave, SystemExit):
        raise
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        raise Leave(INTERRUPTED) from None
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - nobody reads any more; the interpreter flushes this at its end
        raise Leave(FAILED) from None
    except Exception as error:  # noqa: BLE001 - the top: nobody but a person comes after
        out.fail(error, code := _code(error))
        raise Leave(code) from None


def _code(error: Exception) -> int:
    if isinstance(error, MissingDependencyError):
        return MISSING
    if isinstance(error, ConfigurationError):
        return CONFIGURATION
    return FAILED if isinstance(error, ApiKeyRouterError | OSError) else FAULT


def _fault(error: BaseException) -> str:
    """What is said about an error that is not ours: an operating system's, or a fault in the program."""
    if isinstance(error, OSError):
        return sentence(f"{error.strerror or type(error).__name__}{f': {error.filename}' if error.filename else ''}.")
    return sentence(f"A fault in apikeyrouter itself ({type(error).__name__}: {error}); please report it.")


def _more(error: BaseException) -> dict[str, object]:
    if isinstance(error, InvalidConfigurationError):
        return {"code": error.code, "problems": list(error.problems)}
    return {"code": error.code} if isinstance(error, ApiKeyRouterError) else {}


def _plain_value(value: object) -> object:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else str(value)
