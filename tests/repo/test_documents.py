"""The documents keep their word: Python blocks run, configurations load, links lead somewhere, commands exist.

How a block says that it is a configuration, a file, or not to be run is told in tests/support/doc_blocks.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from doc_blocks import Block, Document, anchors, links, read_document
from run_document import compile_block

ROOT = Path(__file__).resolve().parents[2]
RUNNER = ROOT / "tests" / "support" / "run_document.py"
RUN_LIMIT_S = 120
NOT_RUN_AT_MOST = 12
"""A block that is not run proves nothing; raise this figure only with a reason in the change."""

PATHS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
EVERY_PATH = sorted({*PATHS, *ROOT.glob("*.md"), *ROOT.glob("*/README.md")})
DOCUMENTS = [read_document(path) for path in PATHS]
LOAD = "import sys; from apikeyrouter import ApiKeyRouter; print(ApiKeyRouter.from_config(sys.argv[1]))"
LOADERS: dict[str, Callable[[str], object]] = {"yaml": yaml.safe_load, "toml": tomllib.loads, "json": json.loads}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def named(documents: list[Document]) -> list[object]:
    return [pytest.param(document, id=name(document.path)) for document in documents]


def interpreter(document: Document) -> Path:
    door = document.directives.get("door")
    return ROOT / f".venv-{door}" / "bin" / "python" if door else Path(sys.executable)


def places(language: str, directive: str | None = None) -> list[object]:
    return [
        pytest.param(block, document.path, id=f"{name(document.path)}:{block.line}")
        for document in DOCUMENTS
        for block in document.blocks
        if block.language == language and (directive is None or directive in block.directives)
    ]


def clean_environment() -> dict[str, str]:
    """What a block may rely on: none of the caller's own keys or settings reach a document."""
    kept = {key: os.environ[key] for key in ("HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR") if key in os.environ}
    return {**kept, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.mark.parametrize("document", named([document for document in DOCUMENTS if document.blocks]))
def test_python_blocks_run(document: Document, tmp_path: Path) -> None:
    python = interpreter(document)
    if not python.exists():
        pytest.skip(f"the environment {python.parents[1].name} is not made; make test makes it")
    run = subprocess.run(
        [python, "-W", "error::SyntaxWarning", RUNNER, document.path],
        cwd=tmp_path,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
        check=False,
    )
    assert run.returncode == 0, f"{name(document.path)} failed:\n{run.stdout[-4000:]}\n{run.stderr[-6000:]}"


def test_few_blocks_are_not_run_and_each_says_why_and_compiles() -> None:
    not_run = [
        (document.path, block) for document in DOCUMENTS for block in document.blocks if "no-run" in block.directives
    ]
    for path, block in not_run:
        assert len(block.directives["no-run"]) > 10, f"{name(path)}:{block.line}: say why in the comment"
        compile_block(block, path)
    assert len(not_run) <= NOT_RUN_AT_MOST


@pytest.mark.parametrize(("block", "path"), [place for language in LOADERS for place in places(language)])
def test_data_blocks_parse(block: Block, path: Path) -> None:
    LOADERS[block.language](block.text)


@pytest.mark.skipif(find_spec("apikeyrouter.facade") is None, reason="the facade is not there yet")
@pytest.mark.parametrize(("block", "path"), [place for language in LOADERS for place in places(language, "config")])
def test_configurations_load(block: Block, path: Path, tmp_path: Path) -> None:
    file = tmp_path / f"shown.{block.language}"
    file.write_text(block.text, encoding="utf-8")
    secrets = set(re.findall(r"\benv:([A-Z_][A-Z0-9_]*)|\$\{([A-Z_][A-Z0-9_]*)", block.text))
    run = subprocess.run(
        [sys.executable, "-c", LOAD, file],
        cwd=tmp_path,
        env={
            **clean_environment(),
            **{one or other: f"placeholder-{one or other}-0123456789" for one, other in secrets},
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
        check=False,
    )
    assert run.returncode == 0, f"{name(path)}:{block.line} does not load:\n{run.stderr[-6000:]}"


@pytest.mark.parametrize("document", named(DOCUMENTS))
def test_directives_are_known_and_stand_before_a_block(document: Document) -> None:
    assert not document.unknown


@pytest.mark.parametrize("document", named([read_document(path) for path in EVERY_PATH]))
def test_links_lead_somewhere(document: Document) -> None:
    for target in links(document):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (document.path.parent / file).resolve() if file else document.path
        assert there.exists(), f"{name(document.path)} links to {target}, which is not there"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(read_document(there)), f"{name(document.path)} links to {target}: no such heading"


@pytest.mark.parametrize("path", EVERY_PATH, ids=name)
def test_make_targets_that_are_named_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"(?:`|^\s*|\$ )make ([a-z][a-z-]*)", text, re.MULTILINE):
        assert target in targets, f"{name(path)} names 'make {target}', which the Makefile does not have"
