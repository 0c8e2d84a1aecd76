"""Tools and structured output, said once for every provider: canonical tools, and one parser of what comes back.

What a model answers depends on the provider that happened to serve (a tool call, JSON text, JSON in a fence), so the
parser asks the message and not the provider.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, Literal, TypeAlias

from langchain_core.messages import AIMessage
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.base import BaseGenerationOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import BaseModel

Tool: TypeAlias = "dict[str, Any] | type | Callable[..., Any] | BaseTool"
Method = Literal["function_calling", "json_schema", "json_mode"]
METHODS: Final = ("function_calling", "json_schema", "json_mode")
_WORDS: Final = {"any": "required", "required": "required", "auto": "auto", "none": "none"}


def tools_of(tools: Sequence[Tool], *, strict: bool | None = None) -> list[dict[str, Any]]:
    """Tools in canonical shape; a provider's own (Anthropic's server tools) as they are."""
    return [_own(tool) or convert_to_openai_tool(tool, strict=strict) for tool in tools]


def _own(tool: Tool) -> dict[str, Any] | None:
    """A dict that is neither a function nor a schema: a tool that a provider runs itself."""
    if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
        return None
    return tool if tool["type"] not in ("function", "object") and "name" in tool and "title" not in tool else None


def choice_of(choice: object, tools: Sequence[Mapping[str, Any]]) -> object:
    """LangChain's words for who calls what, in canonical shape. Raises ValueError for a name no tool has."""
    if choice is None or choice is False:
        return None
    if choice is True:
        return "required"
    if not isinstance(choice, str):
        return choice
    if choice in _WORDS:
        return _WORDS[choice]
    names = [str((tool.get("function") or tool).get("name")) for tool in tools]
    if choice not in names:
        raise ValueError(f"tool_choice '{choice}' names none of the tools, which are {', '.join(names) or 'none'}.")
    return {"type": "function", "function": {"name": choice}}


def asked_of(schema: Tool, method: Method, *, strict: bool | None) -> dict[str, Any]:
    """The arguments to bind for an answer of this schema. Raises ValueError for an unknown method."""
    told = told_of(schema, method, strict)
    if method == "function_calling":
        tool = convert_to_openai_tool(schema, strict=strict)
        choice = {"type": "function", "function": {"name": tool["function"]["name"]}}
        return {"tools": [tool], "tool_choice": choice, "parallel_tool_calls": False, **told}
    if method == "json_schema":
        form = convert_to_json_schema(schema, strict=strict)
        named: dict[str, Any] = {"name": str(form.get("title", "answer")).replace(" ", "_"), "schema": form}
        if strict is not None:
            named["strict"] = strict
        return {"response_format": {"type": "json_schema", "json_schema": named}, **told}
    if method == "json_mode":
        return {"response_format": {"type": "json_object"}, **told}
    raise ValueError(f"method '{method}' is unknown; use one of {', '.join(METHODS)}.")


def told_of(schema: Tool, method: str | None, strict: bool | None) -> dict[str, Any]:
    """What langchain-core's traces tell of an answer's schema."""
    return {"ls_structured_output_format": {"kwargs": {"method": method, "strict": strict}, "schema": schema}}


class AnswerParser(BaseGenerationOutputParser[Any]):
    """The answer of a schema out of whatever shape it came in: a tool call, else JSON text."""

    schema_: Any

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        """See BaseLLMOutputParser. Raises OutputParserException for text that does not fit the schema."""
        first = result[0]
        message = first.message if isinstance(first, ChatGeneration) else None
        called = isinstance(message, AIMessage) and (message.tool_calls or message.invalid_tool_calls)
        return (self._of_tools() if called else self._of_text()).parse_result(result, partial=partial)

    def _of_tools(self) -> Any:
        if is_model(self.schema_):
            return PydanticToolsParser(tools=[self.schema_], first_tool_only=True)
        name = convert_to_openai_tool(self.schema_)["function"]["name"]
        return JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)

    def _of_text(self) -> Any:
        return PydanticOutputParser(pydantic_object=self.schema_) if is_model(self.schema_) else JsonOutputParser()


def is_model(schema: object) -> bool:
    """Whether the answer is an instance of a pydantic class."""
    return isinstance(schema, type) and (issubclass(schema, BaseModel) or is_basemodel_subclass(schema))


def parsed(bound: Runnable[Any, Any], schema: object, *, include_raw: bool) -> Runnable[Any, Any]:
    """The bound model with its answer read; `include_raw` keeps the message and the error of reading beside it."""
    parser = AnswerParser(schema_=schema)
    if not include_raw:
        return bound | parser
    read = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=bound) | read.with_fallbacks([failed], exception_key="parsing_error")
