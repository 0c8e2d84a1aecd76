"""Fakes and conformance suites, for this project's tests and for its users'. Needs pytest only where a suite skips."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from apikeyrouter.testing.adapters import AdapterSuite, PlainSecret, Refusal
    from apikeyrouter.testing.clock import ManualClock
    from apikeyrouter.testing.raw import CUT, HANG, RawProvider, chunked, response

__all__ = ["CUT", "HANG", "AdapterSuite", "ManualClock", "PlainSecret", "RawProvider", "Refusal", "chunked", "response"]

_HOMES: Final = {
    "AdapterSuite": "adapters",
    "CUT": "raw",
    "HANG": "raw",
    "ManualClock": "clock",
    "PlainSecret": "adapters",
    "RawProvider": "raw",
    "Refusal": "adapters",
    "chunked": "raw",
    "response": "raw",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
