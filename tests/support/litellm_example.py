"""examples/litellm_proxy as a module: the tests start the very Proxy that the example shows."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

EXAMPLE = Path(__file__).parents[2] / "examples" / "litellm_proxy"


def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("litellm_proxy_example", EXAMPLE / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
