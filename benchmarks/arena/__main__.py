"""`make arena`: see arena/cli.py. The folder above becomes importable, so that this one is the package `arena`."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = str(Path(__file__).resolve().parent)
sys.path[:] = [str(Path(HERE).parent), *(p for p in sys.path if p != HERE)]

if __name__ == "__main__":
    from arena.cli import main

    main()
