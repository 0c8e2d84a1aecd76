"""Several workers of one server, each with counters of its own: said once in the log, by the second of them.

A worker is a process that a server has made of itself: uvicorn, granian and hypercorn by multiprocessing, gunicorn by
forking. The workers of one parent tell each other apart by lock files, which end with their processes. Servers that
were started separately do not see each other.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing import parent_process
from pathlib import Path
from typing import Final

COUNTED_IN: Final = ("NUM_WORKERS", "WEB_CONCURRENCY")
"""How many workers there are: LiteLLM's command writes the first for them; uvicorn and gunicorn read the second."""
SECOND: Final = 1
_held: list[int] = []


def warning() -> str | None:
    """The sentence for the log, where this process is the second worker of its server."""
    return sentence(count(os.environ)) if is_worker() and place() == SECOND else None


def sentence(workers: int | None) -> str:
    """What several workers mean, and what to do about it; None: nobody says how many there are."""
    many, times = ("At least 2", "once each") if workers is None else (f"{workers}", f"{workers} times")
    return (
        f"{many} workers of this Proxy route, and each counts for itself: together they may spend every limit and "
        f"budget {times}. Run one worker (--num_workers 1), or give each its share of the limits, until workers can "
        f"share a store."
    )


def count(environment: Mapping[str, str]) -> int | None:
    """How many workers there are said to be, where that is more than one."""
    said = [environment.get(name, "") for name in COUNTED_IN]
    return next((int(text) for text in said if text.isdecimal() and int(text) > 1), None)


def is_worker() -> bool:
    """Whether a server has made this process of itself."""
    return parent_process() is not None or "gunicorn.arbiter" in sys.modules


def place(parent: int | None = None, folder: Path | None = None) -> int:
    """0 for the first process below `parent` (this process's own) that asks, 1 for the second, 2 for all others.

    A place is free again when its process has ended. Where files cannot be locked every process is the first.
    """
    server, directory = os.getppid() if parent is None else parent, folder or Path(tempfile.gettempdir())
    for number in range(SECOND + 1):
        if _locked(directory / f"apikeyrouter-{_user()}-{server}-{number}.lock"):
            return number
    return SECOND + 1


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


def _locked(path: Path) -> bool:
    """Whether the file is this process's now."""
    try:
        import fcntl  # not on every system
    except ImportError:
        return True
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return False
    _held.append(descriptor)
    return True
