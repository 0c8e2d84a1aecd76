"""Which configuration a command means, and the router it describes, with or without its secrets."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from apikeyrouter.assembly import from_config
from apikeyrouter.config import Config, load
from apikeyrouter.config.model import MEMORY
from apikeyrouter.config.server import CONFIG
from apikeyrouter.errors import MissingConfigurationError
from apikeyrouter.facade import ApiKeyRouter

NAMES: Final = tuple(f"apikeyrouter.{ending}" for ending in ("yaml", "yml", "toml", "json"))


def config_path(given: Path | None) -> Path:
    """`--config`, else APIKEYROUTER_CONFIG, else the file of the usual name in this folder."""
    if given is not None:
        return given
    if named := os.environ.get(CONFIG, "").strip():
        return Path(named)
    here = next((path for path in map(Path, NAMES) if path.exists()), None)
    if here is None:
        raise MissingConfigurationError(
            f"There is no {NAMES[0]} in this folder; name a configuration with --config, "
            f"or write one with `apikeyrouter init`."
        )
    return here


def read(given: Path | None) -> Config:
    """The configuration, without reading any key's material."""
    return load(config_path(given), secrets=False)


def router_of(config: Config) -> ApiKeyRouter:
    """A router that can decide and show its state, but sends nothing: state in memory, no audit, no material."""
    return from_config(ApiKeyRouter, replace(config, state=MEMORY, audit=None), log=False)
