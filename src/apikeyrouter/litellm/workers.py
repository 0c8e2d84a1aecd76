"""Whether another process of the same server routes already: workers of one parent share a lock file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_held: list[int] = []


def is_first(parent: int | None = None, folder: Path | None = None) -> bool:
    """True for the first process below `parent` (this process's own) that asks, as long as it lives.

    Where files cannot be locked every process is the first.
    """
    try:
        import fcntl  # not on every system
    except ImportError:
        return True
    user = os.getuid()
    path = (
        folder or Path(tempfile.gettempdir())
    ) / f"apikeyrouter-{user}-{os.getppid() if parent is None else parent}.lock"
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
