"""Builds the wheel and the sdist, installs each in a clean environment, and runs the demo there.

Why: an editable install hides what a built one lacks. So the files in the wheel are compared with the source, and the
installed command is run from an empty folder. Only the standard library and hatchling are used here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
EXTRAS = "cli,proxy"
DEMO = ("demo", "--quick")
LIMIT_S = 300.0


def build() -> list[Path]:
    """Both archives, made anew in dist/."""
    shutil.rmtree(DIST, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist"], cwd=ROOT, check=True)
    return sorted(DIST.iterdir())


def missing_from(wheel: Path) -> list[str]:
    """Source files that the wheel does not carry: data and Lua scripts are easily forgotten."""
    source = ROOT / "src"
    wanted = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        return sorted(wanted - set(archive.namelist()))


def install(archive: Path, environment: Path) -> None:
    """Installs an archive with what the demo needs, at the pinned versions."""
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
    wanted = [f"apikeyrouter[{EXTRAS}] @ {archive.as_uri()}", "-c", str(ROOT / "requirements" / "demo.txt")]
    if Path(uv).exists():
        if subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *wanted], check=False).returncode == 0:
            return
        print("uv could not install the archive; pip does it.")
    subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)


def try_out(archive: Path) -> None:
    """Installs one archive and runs the command from an empty folder, where the source tree cannot help."""
    print(f"=== {archive.name}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "env"
        install(archive, environment)
        empty = Path(folder) / "empty"
        empty.mkdir()
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
        command = [str(environment / "bin" / "apikeyrouter"), *DEMO]
        subprocess.run(command, cwd=empty, env=kept, check=True, timeout=LIMIT_S)


def main() -> int:
    """Builds, compares, tries out."""
    archives = build()
    wheel = next(path for path in archives if path.suffix == ".whl")
    if missing := missing_from(wheel):
        print(f"{wheel.name} lacks {', '.join(missing)}: see [tool.hatch.build] in pyproject.toml.")
        return 1
    try:
        for archive in archives:
            try_out(archive)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"FAILED: {error}")
        return 1
    print(f"{len(archives)} archives build, install and run: {', '.join(path.name for path in archives)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
