"""`python benchmarks/admitted [--seeds 4]`: the table of report.py."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = str(Path(__file__).resolve().parent)
sys.path[:] = [str(Path(HERE).parent), *(p for p in sys.path if p != HERE)]

if __name__ == "__main__":
    from admitted.report import main

    main()
