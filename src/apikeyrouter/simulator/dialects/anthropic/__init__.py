"""The Anthropic dialect: messages, token counting and models, with its limits and its errors.

What is charged: at admission one request and the input tokens that were not read from the prompt cache (ITPM);
output tokens as they are produced (OTPM), so `max_tokens` costs nothing and a long answer may leave the output
window in debt, in which case nothing more is admitted until it has risen above zero. Every window is a continuous
bucket, as the documentation says. The simulator reads a prompt cache when the header `x-sim-cached-tokens` says so.
Sources: docs "Rate limits" and "Errors" (2026-08), recorded headers and bodies in public repositories (2025-2026).
"""

from __future__ import annotations

from apikeyrouter.simulator.dialects.anthropic.dialect import Anthropic

__all__ = ["Anthropic"]
