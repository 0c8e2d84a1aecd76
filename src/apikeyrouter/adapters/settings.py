"""Settings that every adapter over HTTP understands, checked: `{allow_http: true, connect_s: 5, read_s: 60}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from apikeyrouter.adapters.rules import Problems

WIRE_WORDS: Final = frozenset({"allow_http", "connect_s", "read_s", "max_answer_bytes"})
_MOST_S: Final = 3600.0


def wire_settings(raw: Mapping[str, object], where: str, problems: Problems) -> dict[str, bool | int | float]:
    """The settings of the connection that are there; mistakes become problems."""
    found: dict[str, bool | int | float] = {}
    for name in sorted(WIRE_WORDS & raw.keys()):
        value = raw[name]
        if name == "allow_http":
            if not isinstance(value, bool):
                problems.add(where, f"allow_http is {value!r}; write true or false")
            found[name] = value is True
        elif isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            problems.add(where, f"{name} is {value!r}; write a positive number")
        elif name.endswith("_s") and value > _MOST_S:
            problems.add(where, f"{name} is {value!r} seconds; at most {_MOST_S:.0f} are allowed")
        else:
            found[name] = int(value) if name == "max_answer_bytes" else float(value)
    return found
