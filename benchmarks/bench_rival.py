"""Against LiteLLM's own pick, in one process of its environment: a condition on ratios, not on times."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
REPORT = HERE.parent / ".reports" / "rival.json"
PYTHON = HERE.parent / ".venv-litellm" / "bin" / "python"
AT_MOST = {"3": 1 / 2, "1000": 1 / 50}
"""Our whole acquire and settle as a share of the faster of LiteLLM's picks, by number of keys."""


@pytest.mark.skipif(not PYTHON.exists(), reason="needs LiteLLM's environment: make .venv-litellm/.stamp")
def bench_our_whole_decision_against_litellms_pick() -> None:
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    argv = [str(PYTHON), str(HERE / "rival_litellm.py")]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    result = json.loads(done.stdout.splitlines()[-1])
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(result, indent=2), encoding="utf-8")
    for size, share in AT_MOST.items():
        times = dict(result["median_s"][size])
        ours = times.pop("ours")
        told = ", ".join(f"{name} {s * 1e6:,.0f} us" for name, s in times.items())
        print(f"{size} keys: ours {ours * 1e6:,.0f} us, {told}", file=sys.stderr)
        assert ours <= share * min(times.values()), f"{size} keys: ours {ours * 1e6:.0f} us, {told}"
