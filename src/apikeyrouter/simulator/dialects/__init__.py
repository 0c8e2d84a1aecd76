"""The dialects there are. A new one is one member here and one line in ALL; they do not know each other."""

from __future__ import annotations

from apikeyrouter.simulator.dialect import Dialect
from apikeyrouter.simulator.dialects.anthropic import Anthropic
from apikeyrouter.simulator.dialects.gemini import Gemini
from apikeyrouter.simulator.dialects.openai import OpenAI
from apikeyrouter.simulator.dialects.plain import Plain

__all__ = ["ALL"]

ALL: tuple[Dialect, ...] = (Anthropic(), Gemini(), OpenAI(), Plain())
"""In the order in which they are asked whether a path is theirs: /v1/models is OpenAI's unless a header says
otherwise."""
