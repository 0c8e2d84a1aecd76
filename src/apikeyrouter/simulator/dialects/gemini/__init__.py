"""The Gemini dialect: generateContent (and its stream), embeddings, token counting and models, with its limits and
errors.

What is charged at admission: one request and the input tokens; output costs no quota. Requests per day end at
midnight in America/Los_Angeles. A successful answer says nothing about limits; a 429 says it in its body. Sources:
ai.google.dev "Rate limits" (2026), recorded bodies in public repositories and issues (2025-2026).
"""

from __future__ import annotations

from apikeyrouter.simulator.dialects.gemini.dialect import Gemini

__all__ = ["Gemini"]
