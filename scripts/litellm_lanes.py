"""Which releases of LiteLLM the long matrices run, what became of each, and why no newer one.

Why apart: torture.py runs tests in environments; here the installer is asked what can be installed. A release is never
chosen by its number: `newest` is what the installer resolves, and `newest, with bounds lifted` is what it would resolve
if a few dependencies of LiteLLM had no lower bound. The table says which bounds were lifted, so nobody takes that lane
for what `pip install` gives.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from run_tests import OFFLINE, ROOT, Tally

LIMIT = "litellm>=1.100,!=1.107.*,<1.111"
FIXED = ("1.100.*", "1.106.2")
NEWEST = "newest"
LIFTED = "newest, with bounds lifted"
BOUNDS = {
    "certifi": "how fresh the bundled root certificates must be; its interface is the same in every release",
    "litellm-proxy-extras": "the Proxy's database migrations, released with LiteLLM; no test uses a database",
}
"""Dependencies whose bounds may be lifted, and what those bounds are about."""

LOOK = """
import sys
from importlib.metadata import PackageNotFoundError, requires, version
import litellm
from packaging.requirements import Requirement
plugin = hasattr(litellm.Router, "register_plugin")
print(version("litellm"))
print("register_plugin, select" if plugin else "set_custom_routing_strategy")
print("%d.%d.%d" % sys.version_info[:3])
print("openai", version("openai"))
for wanted in map(Requirement, requires("litellm")):
    if wanted.name not in sys.argv[1:]:
        continue
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        continue
    if not wanted.specifier.contains(found, prereleases=True):
        print("%s %s instead of %s" % (wanted.name, found, wanted.specifier))
"""
"""Asked in a lane's own environment."""


@dataclass(frozen=True, slots=True)
class Found:
    """What an environment has: LiteLLM's version, the Router's interface, Python's version, and what deviates in it."""

    version: str
    interface: str
    python: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lane:
    """One release that is tried: what to install into which environment; not run where there is nothing to install."""

    name: str
    directory: str = ""
    requirements: tuple[str, ...] = ()
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A lane and what became of it; no tally: not run."""

    lane: str
    found: Found | None
    tally: Tally | None
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Installer:
    """uv, which resolves without installing; an empty path when it is nowhere."""

    uv: str
    python: str
    overrides: Path = field(default=ROOT / ".reports" / "litellm-overrides.txt")

    def resolve(self, *requirements: str, lifted: bool = False) -> tuple[str, str]:
        """(the LiteLLM that would be installed, "") or ("", why none)."""
        command = [self.uv, "pip", "compile", "-", "--quiet", "--no-header", "--no-annotate", "--python", self.python]
        if lifted:
            command += ["--override", str(self.lift())]
        told = subprocess.run(command, input="\n".join(requirements), capture_output=True, text=True, check=False)
        return pinned(told.stdout), reason(told.stderr)

    def lift(self) -> Path:
        """The file that names the dependencies without bounds."""
        self.overrides.parent.mkdir(exist_ok=True)
        self.overrides.write_text("".join(f"{name}\n" for name in BOUNDS), encoding="utf-8")
        return self.overrides


def installer(python: Path) -> Installer:
    """uv as scripts/env.sh finds it: on PATH, or beside the interpreter."""
    beside = python.parent / "uv"
    return Installer(shutil.which("uv") or (str(beside) if beside.exists() else ""), str(python))


def pinned(resolution: str) -> str:
    """LiteLLM's version in a resolution."""
    lines = (line.split(";")[0].strip() for line in resolution.splitlines())
    return next((line.partition("==")[2] for line in lines if line.startswith("litellm==")), "")


def reason(complaint: str) -> str:
    """The first conclusion of an installer that found no solution, in one line."""
    words = " ".join(complaint.replace("cause:", " ").split())
    _, because, conclusion = words.partition("Because ")
    return conclusion.partition(", we can conclude")[0] if because else words


def directory(release: str) -> str:
    """The environment of a lane: ignored by git as every .venv-*."""
    return f".venv-litellm-{release.removesuffix('.*')}"


def lanes(ask: Installer) -> list[Lane]:
    """Every lane, those that will not be run included."""
    fixed = [Lane(release, directory(release), (f"litellm[proxy]=={release}", LIMIT)) for release in FIXED]
    if not ask.uv:
        newest = Lane(NEWEST, directory(NEWEST), ("--upgrade", "litellm[proxy]", LIMIT))
        return [*fixed, newest, Lane(LIFTED, remark="uv is needed to lift a bound, and is not installed")]
    return [*fixed, *newest_lanes(ask)]


def newest_lanes(ask: Installer) -> list[Lane]:
    """The newest release that resolves as it is, and the newest with bounds lifted where that is another one."""
    plain, why = ask.resolve("litellm[proxy]", LIMIT)
    if not plain:
        return [Lane(NEWEST, remark=why or "the installer named no release")]
    _, no_newer = ask.resolve(f"litellm[proxy]>{plain}", LIMIT)
    found = [newest_lane(plain, no_newer)]
    other, _ = ask.resolve("litellm[proxy]", LIMIT, lifted=True)
    if not other or other == plain:
        return [*found, Lane(LIFTED, remark=f"nothing newer than {plain} that way")]
    wanted = ("--upgrade", "--override", str(ask.lift()), f"litellm[proxy]=={other}", LIMIT)
    return [*found, Lane(LIFTED, directory("newest-lifted"), wanted)]


def newest_lane(plain: str, no_newer: str) -> Lane:
    """The newest as it is, unless that is one of the fixed."""
    if plain in FIXED:
        return Lane(NEWEST, remark=f"{plain}, run above; no newer one: {no_newer}")
    return Lane(
        NEWEST, directory(NEWEST), ("--upgrade", f"litellm[proxy]=={plain}", LIMIT), f"no newer one: {no_newer}"
    )


def look(python: Path) -> Found:
    """What is installed in a lane's environment. Raises CalledProcessError when LiteLLM cannot be imported there."""
    environment = {**os.environ, **OFFLINE}
    asked = [str(python), "-c", LOOK, *BOUNDS]
    told = subprocess.run(asked, capture_output=True, text=True, check=True, env=environment).stdout.splitlines()
    return Found(told[0], told[1], told[2], tuple(told[3:]))


def table(rows: Sequence[Row]) -> str:
    """Markdown: one line a lane."""
    lines = [
        "| lane | LiteLLM | interface | Python | passed | failed | skipped | remark |",
        "|--|--|--|--|--:|--:|--:|--|",
    ]
    for row in rows:
        found = row.found or Found("", "", "")
        tally = row.tally
        counts = ("", "", "") if tally is None else (tally.passed, tally.failed, tally.skipped)
        remark = "; ".join(part for part in (row.remark, *found.notes) if part)
        cells = (row.lane, found.version, found.interface, found.python, *counts, remark)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)
