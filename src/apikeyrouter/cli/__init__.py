"""The command line. `main` is the console script; the verbs and their options are in app.py, their work in siblings.

Typer is imported in app.py only, Rich in screen.py only and only for a terminal: what is piped is plain text.
"""

from __future__ import annotations

import sys

from apikeyrouter.cli.codes import MISSING

__all__ = ["main"]


def main() -> None:
    """Run the command that sys.argv names, and exit with its code (codes.py)."""
    try:
        from apikeyrouter.cli.app import app
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("typer", "click", "rich"):
            raise
        sys.stderr.write("The command line needs typer and rich; install them with: pip install 'apikeyrouter[cli]'\n")
        sys.exit(MISSING)
    app()
