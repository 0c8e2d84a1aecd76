"""The OpenAI dialect: chat completions, completions, embeddings, responses and models, with its limits and its errors.

What is charged at admission: one request, and input tokens + the maximum of output times the number of answers
(`max_completion_tokens`, `max_tokens` or `max_output_tokens`; the world's `default_max_output` when none is named, 16
for /v1/completions as its reference says). Nothing is given back at the end (recorded pairs of headers show a debit at
admission only). Header names, durations and texts as recorded in public fixtures and issues, 2023-2026.
"""

from __future__ import annotations

from apikeyrouter.simulator.dialects.openai.dialect import OpenAI

__all__ = ["OpenAI"]
