"""What is bound to a pool of models before anybody knows which of them will serve: tools and wished-for answers, raw.

Each provider's integration turns them into its own words when it first serves, and the words are kept: binding anew
for every call would cost more than routing does. Turning them into one provider's words at once would lose what
others need (server tools, strictness, cache marks).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableBinding

from apikeyrouter.errors import InvalidRequestError
from apikeyrouter.langchain.tools import Tool, tools_of

Words = dict[str, Any]
WISH: Final = "answer_format"
"""The keyword argument a wish travels as."""


class ToolSet(list[Any]):
    """Bound tools as they were given, with what else was said, and each member's words for it once known."""

    def __init__(self, tools: Sequence[Tool], said: Mapping[str, Any]) -> None:
        super().__init__(tools)
        self.said = dict(said)
        self._words: dict[int, Words] = {}

    @cached_property
    def shown(self) -> list[Words]:
        """For traces, and for what the tools weigh."""
        return tools_of(self)

    @cached_property
    def chars(self) -> int:
        """Characters of the definitions."""
        return len(repr(self.shown))

    def words(self, model: BaseChatModel) -> Words:
        """The arguments of a call of `model`."""
        found = self._words.get(id(model))
        if found is None:
            found = self._words[id(model)] = _arguments(model.bind_tools(list(self), **self.said))
        return found


class Wish:
    """An answer that was asked for in a schema. Its repr is the same for the same wish: caches tell calls by it."""

    def __init__(self, schema: Tool, said: Mapping[str, Any]) -> None:
        self.schema = schema
        self.said = dict(said)
        self._words: dict[int, Words] = {}

    def words(self, model: BaseChatModel) -> Words:
        """The arguments of a call of `model`. Raises InvalidRequestError where it cannot answer so."""
        found = self._words.get(id(model))
        if found is None:
            try:
                asked = model.with_structured_output(self.schema, include_raw=True, **self.said)
            except (ValueError, TypeError, RuntimeError) as error:  # what is not implemented is a RuntimeError
                raise InvalidRequestError(f"{type(model).__name__} cannot answer in this format: {error}") from error
            found = self._words[id(model)] = _arguments(_raw_step(asked))
            found.pop("ls_structured_output_format", None)
        return found

    def __repr__(self) -> str:
        return f"Wish({self.schema!r}, {self.said!r})"


def _raw_step(asked: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """The bound model inside what `with_structured_output(include_raw=True)` makes (langchain-core 1.7)."""
    steps: Mapping[str, Runnable[Any, Any]] = getattr(getattr(asked, "first", None), "steps__", {})
    if "raw" not in steps:
        raise InvalidRequestError(f"{type(asked).__name__} is not what structured output was made of until now.")
    return steps["raw"]


def _arguments(bound: Runnable[Any, Any]) -> Words:
    if not isinstance(bound, RunnableBinding):
        raise InvalidRequestError(f"{type(bound).__name__} is not a binding; the model behind it cannot be pooled.")
    return dict(bound.kwargs)
