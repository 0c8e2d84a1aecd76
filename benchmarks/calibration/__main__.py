"""How true the forecasts are: `python benchmarks/calibration [--trace azure-llm-2023-code.csv]`. See report.py."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = str(Path(__file__).resolve().parent)
sys.path[:] = [str(Path(HERE).parent), *(p for p in sys.path if p != HERE)]

if __name__ == "__main__":
    from calibration.report import main

    main()
