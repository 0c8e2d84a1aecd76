"""`init`: a commented configuration and the variables it reads, to start from. Never replaces what is there."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

from apikeyrouter.cli.page import Line, Page
from apikeyrouter.errors import ApiKeyRouterError

FILES: Final = {"apikeyrouter.yaml": "apikeyrouter.yaml", ".env.example": "env.example"}
"""What is written, and the template it is a copy of."""


def template(name: str) -> str:
    """The text of a template that is shipped with the package."""
    return (files("apikeyrouter") / "data" / "init" / name).read_text(encoding="utf-8")


def init(folder: Path) -> tuple[Page, dict[str, object]]:
    """Write the files. Raises ApiKeyRouterError, and writes nothing, where one of them exists."""
    paths = {folder / name: source for name, source in FILES.items()}
    there = [str(path) for path in paths if path.exists()]
    if there:
        raise ApiKeyRouterError(f"{' and '.join(there)} exists already; move it away, or choose a folder with --dir.")
    folder.mkdir(parents=True, exist_ok=True)
    for path, source in paths.items():
        path.write_text(template(source), encoding="utf-8")
    written = [str(path) for path in paths]
    page = [
        Line(f"Wrote {' and '.join(written)}.", "good"),
        Line("Next: copy .env.example to .env and fill in your keys, describe them in apikeyrouter.yaml,"),
        Line("      then let `apikeyrouter doctor` look at both."),
    ]
    return page, {"written": written}
