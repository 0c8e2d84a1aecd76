"""Which releases of LiteLLM the long matrices run: told from what an installer says, and shown with what deviates."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import litellm_lanes
from litellm_lanes import LIFTED, NEWEST, Found, Installer, Lane, Row
from run_tests import Tally

FAKE_UV = """#!{python}
import sys
wanted = sys.stdin.read()
if ">1.106.2" in wanted or ">1.109.1" in wanted:
    sys.exit("error: No solution\\n  cause: Because only certifi<=1 is available and all of:\\n"
             "     litellm>=1.108.0\\n depend on certifi>=2, we can conclude that litellm>1 cannot be used.\\n And so")
lifted = "--override" in sys.argv and open(sys.argv[sys.argv.index("--override") + 1]).read()
assert not lifted or lifted == "certifi\\nlitellm-proxy-extras\\n"
print("litellm=={lifted} ; python_version < '4'" if lifted else "certifi==1\\nlitellm=={plain}\\nlitellm-enterprise==9")
"""
WHY = "only certifi<=1 is available and all of: litellm>=1.108.0 depend on certifi>=2"


def installer(tmp_path: Path, plain: str, lifted: str) -> Installer:
    uv = tmp_path / "uv"
    uv.write_text(FAKE_UV.format(python=sys.executable, plain=plain, lifted=lifted), encoding="utf-8")
    uv.chmod(0o755)
    return Installer(str(uv), sys.executable, tmp_path / "overrides.txt")


def planned(ask: Installer) -> dict[str, Lane]:
    return {lane.name: lane for lane in litellm_lanes.lanes(ask)}


def test_the_newest_is_not_run_twice_and_says_why_it_is_not_newer(tmp_path: Path) -> None:
    found = planned(installer(tmp_path, "1.106.2", "1.109.1"))
    assert list(found) == ["1.100.*", "1.106.2", NEWEST, LIFTED]
    assert found[NEWEST] == Lane(NEWEST, remark=f"1.106.2, run above; no newer one: {WHY}")
    assert "litellm[proxy]==1.109.1" in found[LIFTED].requirements
    assert str(tmp_path / "overrides.txt") in found[LIFTED].requirements


def test_a_newer_one_that_resolves_is_a_lane_and_nothing_is_lifted_for_it(tmp_path: Path) -> None:
    found = planned(installer(tmp_path, "1.109.1", "1.109.1"))
    assert "litellm[proxy]==1.109.1" in found[NEWEST].requirements
    assert found[NEWEST].remark == f"no newer one: {WHY}"
    assert found[LIFTED] == Lane(LIFTED, remark="nothing newer than 1.109.1 that way")


def test_no_lane_installs_what_is_excluded(tmp_path: Path) -> None:
    for lane in planned(installer(tmp_path, "1.106.2", "1.109.1")).values():
        assert not lane.requirements or litellm_lanes.LIMIT in lane.requirements
    assert "!=1.107.*" in litellm_lanes.LIMIT


def test_without_uv_the_newest_is_left_to_pip() -> None:
    found = planned(Installer("", sys.executable))
    assert found[NEWEST].requirements[:2] == ("--upgrade", "litellm[proxy]")
    assert found[LIFTED].requirements == ()


def test_an_environment_without_litellm_is_told() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        litellm_lanes.look(Path(sys.executable))


def test_the_table_names_what_deviates_and_what_was_not_run() -> None:
    shown = litellm_lanes.table(
        [
            Row("1.106.2", Found("1.106.2", "old", "3.11.7", ("openai 2.54.0",)), Tally(5, 1, 2)),
            Row(NEWEST, None, None, "1.106.2, run above"),
        ]
    )
    assert shown.splitlines()[2:] == [
        "| 1.106.2 | 1.106.2 | old | 3.11.7 | 5 | 1 | 2 | openai 2.54.0 |",
        "| newest |  |  |  |  |  |  | 1.106.2, run above |",
    ]
