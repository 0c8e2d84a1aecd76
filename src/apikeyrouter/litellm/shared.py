"""The engine of this process: one for the Proxy's handler and for models served by our own adapters.

Its configuration stands in LiteLLM's own file (`litellm_settings.apikeyrouter`), or in a file of ours that this section
or APIKEYROUTER_CONFIG names. It is built when it is first needed, because LiteLLM reads its settings one by one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from apikeyrouter.errors import InvalidConfigurationError
from apikeyrouter.facade import ApiKeyRouter
from apikeyrouter.litellm import compat

SECTION: Final = "apikeyrouter"
MOST_WAIT_S: Final = 60.0
Config = ApiKeyRouter | str | Path | Mapping[str, object] | None


@dataclass(slots=True)
class Shared:
    """The engine, once there is one, and how long the Proxy's calls may wait for room, in seconds."""

    engine: ApiKeyRouter | None = None
    max_wait: float = MOST_WAIT_S

    def get(self) -> ApiKeyRouter:
        """The engine. Raises ConfigurationError, again and again, while its configuration is wrong."""
        if self.engine is None:
            config, self.max_wait = configured()
            self.engine = engine_of(config)
        return self.engine

    def use(self, engine: ApiKeyRouter | None) -> None:
        """Use this engine; None: read the configuration anew when it is next needed."""
        self.engine = engine


SHARED: Final = Shared()


def engine_of(config: Config) -> ApiKeyRouter:
    """The engine a configuration stands for."""
    if isinstance(config, ApiKeyRouter):
        return config
    return ApiKeyRouter() if config is None else ApiKeyRouter.from_config(config)


def configured() -> tuple[Config, float]:
    """(configuration, most seconds to wait) as LiteLLM's settings and the environment say."""
    section = compat.setting(SECTION)
    if section is None:
        section = os.environ.get("APIKEYROUTER_CONFIG") or {}
    if isinstance(section, str | Path):
        return section, MOST_WAIT_S
    if not isinstance(section, Mapping):
        kind = type(section).__name__
        raise InvalidConfigurationError(f"litellm_settings.apikeyrouter is a {kind}; write a mapping or a file's path.")
    rest = dict(section)
    most, path = rest.pop("max_wait", MOST_WAIT_S), rest.pop("config", None)
    if isinstance(most, bool) or not isinstance(most, int | float) or most < 0:
        raise InvalidConfigurationError(
            f"litellm_settings.apikeyrouter.max_wait is {most!r}; write seconds, 0 or more."
        )
    if path is not None and rest:
        raise InvalidConfigurationError(
            f"litellm_settings.apikeyrouter has `config` and {', '.join(sorted(rest))}; write those into the file."
        )
    return (path or rest or None), float(most)
