"""What a command of the command line did, and how tests call one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

START = "from apikeyrouter.cli import main; main()"
"""The console script, for a process of its own."""


@dataclass(frozen=True, slots=True)
class Done:
    """Its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    def data(self) -> dict[str, Any]:
        """What it wrote as JSON."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


class Command(Protocol):
    """Runs a command; in a process of its own also with other code and variables."""

    def __call__(self, *words: str, code: str = START, **environ: str) -> Done: ...
