"""Configurations written to a file, loaded in an environment of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from apikeyrouter.config import Config, load
from apikeyrouter.errors import InvalidConfigurationError

MATERIAL = {f"KEY_{n}": f"material-of-key-{n}-0000" for n in range(1, 6)}

Loader = Callable[..., Config]


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    """Write a text to a file of some ending and return its path."""

    def write(text: str, name: str = "router.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def loaded(written: Callable[[str], Path]) -> Loader:
    def load_text(text: str, **environ: str) -> Config:
        return load(written(text), environ={**MATERIAL, **environ})

    return load_text


@pytest.fixture
def problems(written: Callable[[str], Path]) -> Callable[..., list[str]]:
    """The problems of a text, without the folder of the file."""

    def found(text: str, **environ: str) -> list[str]:
        path = written(text)
        with pytest.raises(InvalidConfigurationError) as caught:
            load(path, environ={**MATERIAL, **environ})
        return [problem.replace(str(path), "router.yaml") for problem in caught.value.problems]

    return found
