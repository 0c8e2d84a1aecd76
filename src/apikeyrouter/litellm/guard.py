"""Whether the installed LiteLLM may be imported, asked before anything of it runs.

Two releases carried a credential thief (2026-03-24, OSV MAL-2026-2144): 1.82.7 in its proxy, 1.82.8 in a .pth file that
runs at every start of Python. Caches and mirrors may still hold them, so the version is read from the metadata first.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Final

from apikeyrouter.errors import MissingDependencyError

MALICIOUS: Final = frozenset({"1.82.7", "1.82.8"})


def refusal(installed: str | None) -> str | None:
    """Why a LiteLLM of this version is not used; None: not installed."""
    if installed is None:
        return "The LiteLLM door needs LiteLLM, which is not installed: pip install 'apikeyrouter[litellm]'"
    if installed in MALICIOUS:
        return (
            f"LiteLLM {installed} is a known malicious release that steals credentials (MAL-2026-2144): uninstall it, "
            f"rotate every secret this machine has seen, then pip install 'apikeyrouter[litellm]'"
        )
    return None


def require() -> None:
    """Raises MissingDependencyError, in one sentence that says what to do, unless LiteLLM can be imported safely."""
    sentence = refusal(_installed())
    if sentence is not None:
        raise MissingDependencyError(sentence)


def _installed() -> str | None:
    try:
        return version("litellm")
    except PackageNotFoundError:
        return None if find_spec("litellm") is None else "unknown"
