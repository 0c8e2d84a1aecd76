"""Adapters by name, from configuration: the one list of what `adapter:` may say, and the one place that checks it.

Names are the adapters' own (`openai`, `azure`, `anthropic`, `gemini`, `vertex`, `http`), and every dialect of the
OpenAI shape (`groq`, `mistral`, `openrouter`, ...), whose address is then known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, cast

from apikeyrouter.adapters.base import BaseAdapter
from apikeyrouter.adapters.dialect import names as dialect_names
from apikeyrouter.adapters.http import Transport, WireOptions
from apikeyrouter.adapters.narrow import mapping, without
from apikeyrouter.adapters.rules import Problems
from apikeyrouter.adapters.settings import WIRE_WORDS, wire_settings
from apikeyrouter.errors import InvalidConfigurationError

_TEXT: Final = (str,)
_NO_PROVIDERS: Final = frozenset({"generic", "oauth2"})
"""Tables that other adapters use."""
_WORDS: Final[Mapping[str, Mapping[str, tuple[type, ...]]]] = {
    "openai": {
        "base_url": _TEXT,
        "dialect": _TEXT,
        "organization": _TEXT,
        "project": _TEXT,
        "api_version": _TEXT,
        "deployments": (Mapping,),
        "auth": _TEXT,
        "headers": (Mapping,),
        "features": (list, tuple),
        "max_output_tokens": (int,),
    },
    "anthropic": {
        "base_url": _TEXT,
        "version": _TEXT,
        "auth": _TEXT,
        "default_max_tokens": (int,),
        "betas": (list, tuple),
        "headers": (Mapping,),
    },
    "gemini": {
        "base_url": _TEXT,
        "project": _TEXT,
        "location": _TEXT,
        "auth": _TEXT,
        "token_source": _TEXT,
        "headers": (Mapping,),
    },
}
_AUTHS: Final = {
    "openai": ("bearer", "api-key"),
    "anthropic": ("x-api-key", "bearer"),
    "gemini": ("x-goog-api-key", "bearer"),
}


def known() -> tuple[str, ...]:
    """Every name `adapter:` may have, sorted."""
    return tuple(sorted({*dialect_names(), "http"} - _NO_PROVIDERS))


def build(
    adapter: str, settings: Mapping[str, object], *, where: str = "provider", transport: Transport | None = None
) -> BaseAdapter:
    """The adapter of a provider. Raises InvalidConfigurationError with every mistake, each with its place."""
    if adapter == "http":
        from apikeyrouter.adapters.declarative import DeclarativeAdapter

        return DeclarativeAdapter(settings, where=where, transport=transport)
    if adapter not in known():
        raise InvalidConfigurationError(f"{where}: adapter '{adapter}' is unknown; use one of {', '.join(known())}")
    family, given = _family(adapter, settings)
    if adapter == "vertex" and not (given.get("project") and given.get("location")):
        raise InvalidConfigurationError(f"{where}: Vertex AI needs project and location; add them")
    options, arguments = _checked(family, given, where)
    options["transport"] = transport
    return _MAKERS[family](arguments, options)


def _family(adapter: str, settings: Mapping[str, object]) -> tuple[str, dict[str, object]]:
    given = dict(settings)
    if adapter in ("anthropic", "openai"):
        return adapter, given
    if adapter in ("gemini", "vertex"):
        return "gemini", given
    given.setdefault("dialect", adapter)
    return "openai", given


def _checked(family: str, given: Mapping[str, object], where: str) -> tuple[WireOptions, dict[str, object]]:
    problems = Problems([])
    words = _WORDS[family]
    problems.unknown(where, given, WIRE_WORDS | words.keys())
    options = wire_settings(given, where, problems)
    arguments = {name: value for name, value in without(given, WIRE_WORDS).items() if value is not None}
    for name, value in arguments.items():
        if name in words and (not isinstance(value, words[name]) or isinstance(value, bool)):
            problems.add(where, f"{name} is {value!r}; write {_asked(words[name])}")
    if "auth" in arguments and arguments["auth"] not in _AUTHS[family]:
        problems.add(where, f"auth is {arguments['auth']!r}; use one of {', '.join(_AUTHS[family])}")
    problems.found.extend(_constructor_problems(arguments, where))
    if problems.found:
        raise InvalidConfigurationError("; ".join(problems.found), problems=tuple(problems.found))
    return cast("WireOptions", options), arguments


def _constructor_problems(arguments: Mapping[str, object], where: str) -> list[str]:
    """Mistakes the constructors would report one by one."""
    found = []
    for name, value in mapping(arguments.get("headers")).items():
        if not isinstance(value, str) or not value.isprintable():
            found.append(f"{where}: header '{name}' needs one line of text")
    found += [f"{where}: {sentence}" for sentence in _named_wrongly(arguments)]
    chosen = arguments.get("dialect")
    if isinstance(chosen, str) and chosen not in dialect_names():
        found.append(f"{where}: dialect '{chosen}' is unknown; use one of {', '.join(dialect_names())}")
    return found


def _named_wrongly(arguments: Mapping[str, object]) -> list[str]:
    """What stands for something that has to exist, and what is a list of names."""
    source, features = arguments.get("token_source"), arguments.get("features")
    found = []
    if isinstance(source, str):
        from apikeyrouter.adapters.token_sources import known_sources, source_named

        if source_named(source) is None:
            known_ones = ", ".join(known_sources()) or "none yet"
            found.append(
                f"token_source '{source[:64]}' is not registered; decorate a function with @token_source first"
                f" ({known_ones})"
            )
    if isinstance(features, list | tuple) and not all(isinstance(name, str) for name in features):
        found.append("features is no list of names like [streaming, tools]")
    return found


def _asked(kinds: tuple[type, ...]) -> str:
    return {str: "a text", int: "a whole number", Mapping: "a mapping"}.get(kinds[0], "a list")


def _openai(arguments: dict[str, object], options: WireOptions) -> BaseAdapter:
    from apikeyrouter.adapters.openai import OpenAIAdapter

    return cast("Callable[..., BaseAdapter]", OpenAIAdapter)(**arguments, **options)


def _anthropic(arguments: dict[str, object], options: WireOptions) -> BaseAdapter:
    from apikeyrouter.adapters.anthropic import AnthropicAdapter

    betas = arguments.pop("betas", ())
    made = cast("Callable[..., BaseAdapter]", AnthropicAdapter)
    return made(**arguments, betas=tuple(cast("list[str]", betas)), **options)


def _gemini(arguments: dict[str, object], options: WireOptions) -> BaseAdapter:
    from apikeyrouter.adapters.gemini import GeminiAdapter

    if "token_source" in arguments:
        from apikeyrouter.adapters.token_sources import source_named

        arguments["token_source"] = source_named(cast(str, arguments["token_source"]))
    return cast("Callable[..., BaseAdapter]", GeminiAdapter)(**arguments, **options)


_MAKERS: Final[Mapping[str, Callable[[dict[str, object], WireOptions], BaseAdapter]]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "gemini": _gemini,
}
