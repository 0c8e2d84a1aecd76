"""Configuration: one file, checked as a whole, precedence arguments > environment > .env > file > defaults.

`load` gives a Config or one error with every problem in it; nothing here builds a router (assembly.py) or changes a
running one (reload.py).
"""

from __future__ import annotations

from apikeyrouter.config.load import load
from apikeyrouter.config.model import (
    AuditEntry,
    Config,
    KeyEntry,
    PriceEntry,
    ProviderEntry,
    ServerEntry,
)
from apikeyrouter.config.problems import Problem

__all__ = [
    "AuditEntry",
    "Config",
    "KeyEntry",
    "PriceEntry",
    "Problem",
    "ProviderEntry",
    "ServerEntry",
    "load",
]
