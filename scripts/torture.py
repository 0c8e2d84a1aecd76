"""The long matrices: every supported Python, several releases of LiteLLM, and the tests marked torture.

Why apart: `make test` runs one Python and one LiteLLM, so that it stays short. A Python that the machine does not have
is named and left out; --require makes that a failure.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from run_tests import ROOT, Done, Step, Tally, close, pytest_step, run

PYTHONS = ("3.11", "3.12", "3.13")
LITELLMS = ("1.100.*", "1.106.2", "newest")
"""Releases of LiteLLM; `newest` is whatever the range resolves to, and left out where that has been run already."""
LIMIT = "litellm>=1.100,!=1.107.*,<1.111"


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


def on_several_litellms(extra: list[str]) -> list[Done]:
    """The tests of the LiteLLM door, once for each release of the range that is tried."""
    if not (ROOT / "tests" / "doors_litellm").is_dir():
        return []
    done: list[Done] = []
    tried: set[str] = set()
    for release in LITELLMS:
        wanted = ("--upgrade", "litellm[proxy]") if release == "newest" else (f"litellm[proxy]=={release}",)
        made = environment(f".venv-litellm-{release.removesuffix('.*')}", "litellm", *wanted, LIMIT)
        found = "" if made is None else installed(made)
        if found in tried:
            print(f"The newest LiteLLM that can be installed is {found}, which has been run.")
            continue
        tried.add(found)
        name = f"LiteLLM {release}" if found in ("", release) else f"LiteLLM {release} ({found})"
        done.append(attempt(name, made, ["tests/doors_litellm", "--torture", "-W", "default"], extra))
    return done


def installed(python: Path) -> str:
    """The LiteLLM of an environment."""
    asked = [str(python), "-c", "from importlib.metadata import version; print(version('litellm'))"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    """Runs the matrices and closes with one sum."""
    parser = argparse.ArgumentParser(description="Run the long matrices.")
    parser.add_argument("--require", action="store_true", help="a Python that is missing is a failure")
    options, extra = parser.parse_known_args()
    (ROOT / ".reports").mkdir(exist_ok=True)
    return close([*on_every_python(options.require, extra), *on_several_litellms(extra)])


if __name__ == "__main__":
    sys.exit(main())
