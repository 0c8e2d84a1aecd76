"""The configurations we show: they load, say what they mean to, and surprise nobody."""

from __future__ import annotations

import re
from pathlib import Path

from apikeyrouter import ApiKeyRouter, Request
from apikeyrouter.config import load

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "apikeyrouter.yaml"
ENVIRON = {
    name: f"placeholder-{name}-0123456789"
    for name in re.findall(r"env:([A-Z0-9_]+)", EXAMPLE.read_text(encoding="utf-8"))
}


def test_the_example_has_every_section_and_no_warning() -> None:
    config = load(EXAMPLE, environ=ENVIRON)
    assert config.warnings == ()
    for section in ("providers", "pools", "keys", "budgets", "policies", "aliases", "prices"):
        assert getattr(config, section), section


def test_the_example_routes() -> None:
    router = ApiKeyRouter.from_config(EXAMPLE, environ=ENVIRON)
    fast = router.preview(Request(model="fast", input_tokens=100, max_output_tokens=100))
    assert fast.chosen is not None
    europe = router.preview(Request(model="gpt-4o", input_tokens=100, max_output_tokens=100, tags={"region": "eu"}))
    assert europe.key == "openai-a1"
    local = router.preview(Request(model="local/llama", input_tokens=100, max_output_tokens=100))
    assert (local.key, local.cost) == ("local-1", 0)
