"""The long matrices: every supported Python, several releases of LiteLLM, and the tests marked torture.

Why apart: `make test` runs one Python and one LiteLLM, so that it stays short. A Python that the machine does not have
is named and left out; --require makes that a failure. A first word narrows the run: `pythons` or `litellm`; which
releases of LiteLLM are tried, and why no newer one, is decided in litellm_lanes.py and shown in a table at the end.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from litellm_lanes import Lane, Row, installer, lanes, look, table
from run_tests import ROOT, Done, Step, Tally, close, pytest_step, run

PYTHONS = ("3.11", "3.12", "3.13")
MATRICES = ("pythons", "litellm")


def works(python: str, version: str) -> bool:
    """Whether this interpreter exists and is of the version."""
    probe = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        return (
            subprocess.run([python, "-c", probe], capture_output=True, text=True, check=True).stdout.strip() == version
        )
    except (OSError, subprocess.CalledProcessError):
        return False


def interpreter(version: str) -> str | None:
    """The path of a Python of this version: on PATH, or in a pyenv's versions."""
    candidates = [shutil.which(f"python{version}"), sys.executable]
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    candidates += [str(path) for path in sorted(root.glob(f"versions/{version}.*/bin/python"))]
    return next((each for each in candidates if each and works(each, version)), None)


def environment(name: str, lock: str, *extra: str, python: str | None = None) -> Path | None:
    """Makes an environment and returns its interpreter; None when it cannot be made."""
    chosen = {**os.environ, "PYTHON": python} if python else dict(os.environ)
    done = subprocess.run(
        ["sh", "scripts/env.sh", name, f"requirements/{lock}.txt", *extra], cwd=ROOT, env=chosen, check=False
    )
    return ROOT / name / "bin" / "python" if done.returncode == 0 else None


def attempt(name: str, python: Path | None, arguments: list[str], extra: list[str]) -> Done:
    """One pytest run, or one failure when its environment could not be made."""
    if python is None:
        print(f"\n=== {name}: its environment could not be made")
        return Done(Step(name, ()), Tally(failed=1), 0.0)
    return run(pytest_step(name, python, arguments, extra))


def on_every_python(require: bool, extra: list[str]) -> list[Done]:
    """The main tests and the tests marked torture, once for each supported Python."""
    ignored = [f"--ignore={path.relative_to(ROOT)}" for path in (ROOT / "tests").glob("doors_*")]
    done: list[Done] = []
    for version in PYTHONS:
        python = interpreter(version)
        if python is None:
            print(f"Python {version} is not on this machine; left out.")
            done += [Done(Step(f"Python {version}", ()), Tally(failed=1), 0.0)] if require else []
            continue
        made = environment(f".venv-py{version}", "dev", python=python)
        done.append(attempt(f"Python {version}", made, ["tests", "--torture", *ignored], extra))
    return done


def on_several_litellms(extra: list[str]) -> tuple[list[Done], list[Row]]:
    """The tests of the LiteLLM door, once for each release that is tried, and the table's rows."""
    if not (ROOT / "tests" / "doors_litellm").is_dir():
        return [], []
    rows: list[Row] = []
    done: list[Done] = []
    for lane in lanes(installer(Path(sys.executable))):
        if not lane.requirements:
            rows.append(Row(lane.name, None, None, lane.remark))
            continue
        one, row = on_one_litellm(lane, extra)
        done.append(one)
        rows.append(row)
    return done, rows


def on_one_litellm(lane: Lane, extra: list[str]) -> tuple[Done, Row]:
    """One lane, from its environment to its row; where that cannot be made, or LiteLLM not imported, a failure."""
    made = environment(lane.directory, "litellm", *lane.requirements)
    try:
        found = look(made) if made is not None else None
    except subprocess.CalledProcessError as error:
        print(error.stderr)
        made = found = None
    name = f"LiteLLM {lane.name}" if found is None else f"LiteLLM {found.version}"
    one = attempt(name, made, ["tests/doors_litellm", "--torture", "-W", "default"], extra)
    return one, Row(lane.name, found, one.tally, lane.remark if found else "its environment could not be made")


def main() -> int:
    """Runs the matrices and closes with one sum."""
    which = (sys.argv.pop(1),) if sys.argv[1:2] and sys.argv[1] in MATRICES else MATRICES
    parser = argparse.ArgumentParser(description="Run the long matrices: all, or `pythons`, or `litellm`.")
    parser.add_argument("--require", action="store_true", help="a Python that is missing is a failure")
    options, extra = parser.parse_known_args()
    (ROOT / ".reports").mkdir(exist_ok=True)
    done = on_every_python(options.require, extra) if "pythons" in which else []
    litellms, rows = on_several_litellms(extra) if "litellm" in which else ([], [])
    if rows:
        print(f"\n=== LiteLLM's releases\n{table(rows)}")
    return close([*done, *litellms])


if __name__ == "__main__":
    sys.exit(main())
