"""From a Config to a router: the one place where what a file says becomes providers, pools, keys and prices.

`from_config` builds a router and fills it; filling an empty router and moving a running one are the same code
(reload.py), so that a configuration means the same at the start and later.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from apikeyrouter import prices
from apikeyrouter.config import Config, load
from apikeyrouter.core.price import PriceBook
from apikeyrouter.core.score import Objective
from apikeyrouter.errors import InvalidConfigurationError
from apikeyrouter.reload import fill

if TYPE_CHECKING:
    from apikeyrouter.facade import ApiKeyRouter

Source = str | Path | Mapping[str, object] | Config


def from_config(cls: type[ApiKeyRouter], source: Source, **overrides: object) -> ApiKeyRouter:
    """A router of `cls` as `source` describes it; keyword arguments of its constructor win over the file.

    `environ` replaces the process's environment. Raises MissingConfigurationError and InvalidConfigurationError.
    """
    environ = cast("Mapping[str, str] | None", overrides.pop("environ", None))
    config = source if isinstance(source, Config) else load(source, environ=environ)
    _check_parts(config)
    fixed = {name for name, value in overrides.items() if value is not None}
    arguments: dict[str, object] = {
        "objective": config.objective,
        "state": config.state,
        "settings": config.settings,
        "budgets": config.budgets,
        "policies": config.policies,
        **{name: overrides[name] for name in overrides if name in fixed},
    }
    arguments["objective"] = Objective.of(arguments["objective"])
    if arguments.get("prices") is None:
        arguments["prices"] = book = prices.load(local=prices.file_of(config.settings.price_list))
        prices.warm(book)
    if not isinstance(arguments["prices"], PriceBook):
        raise InvalidConfigurationError("`prices` is not a PriceBook; apikeyrouter.prices.load() gives one.")
    router = cls(**arguments)  # type: ignore[arg-type]  # the constructor's own arguments
    fill(router, config, fixed=fixed)
    return router


def _check_parts(config: Config) -> None:
    """What a file may ask for and this version cannot give is said, not passed over."""
    if config.audit is not None:
        raise InvalidConfigurationError("`audit` is not part of this version; take it out of the file.")
