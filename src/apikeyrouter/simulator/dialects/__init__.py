"""The dialects there are. A new one is one member here and one line in ALL; they do not know each other."""

from __future__ import annotations

from apikeyrouter.simulator.dialect import Dialect
from apikeyrouter.simulator.dialects.openai import OpenAI
from apikeyrouter.simulator.dialects.plain import Plain

__all__ = ["ALL"]

ALL: tuple[Dialect, ...] = (OpenAI(), Plain())
