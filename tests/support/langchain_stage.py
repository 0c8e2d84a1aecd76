"""A world that LangChain's standard tests can be answered from, and pools of keys whose first ones fail.

The simulator says fixed words. `AttentiveApp` makes it answer what those tests ask by rewriting the request on its way
in: a tool that the prompt means is chosen, values that the prompt names become constants of the tool's schema. Nothing
of the door or the engine is touched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from apikeyrouter import ApiKeyRouter
from apikeyrouter.adapters import AnthropicAdapter, OpenAIAdapter
from apikeyrouter.core.retry import RetrySettings
from apikeyrouter.settings import Settings
from apikeyrouter.simulator import Fault, Organisation, SimulatorApp, World, limits
from apikeyrouter.simulator.wire import Receive, Scope, Send, read_body

OPENAI: Final = "gpt-4o-mini"
CLAUDE: Final = "claude-haiku-4-5"
FAULTS: Final = ("429", "401", "500", "529")
_CALL: Final = re.compile(r"\w+\((\d+)\)")
_QUOTED: Final = re.compile(r"'([^']+)'")
_LONG_WORD: Final = 5


def world(dialects: Iterable[str] = ("openai", "anthropic")) -> World:
    """Keys `o-429`, `o-401`, `o-500`, `o-529`, `o-ok`, and the same with `a-`, each its own organisation."""
    names = {dialect[0]: dialect for dialect in dialects}
    made = World(
        [
            Organisation(
                id=f"{letter}-{kind}",
                keys=(f"{letter}-{kind}",),
                dialect=dialect,
                limits=limits(rpm=1, start=0.0) if kind == "429" else limits(rpm=100_000),
            )
            for letter, dialect in names.items()
            for kind in (*FAULTS, "ok")
        ]
    )
    for letter in names:
        made.revoke(f"{letter}-401")
        made.faults.add(Fault(kind="error", key=f"{letter}-500", error="server_error"))
        made.faults.add(Fault(kind="error", key=f"{letter}-529", error="overloaded"))
    return made


QUICK: Final = Settings(retry=RetrySettings(attempts=9, per_key=1, per_provider=9, backoff_s=0.001, budget_floor=99.0))
"""Every failing key is met once, without waiting long."""


def router_over(world: World, url: str, keys: Iterable[str], **options: Any) -> ApiKeyRouter:
    """A router that tries `keys` in their order: each is a tier of its own."""
    router = ApiKeyRouter(settings=options.pop("settings", QUICK), log=False, **options)
    enrolment = router.enrolment
    enrolment.add_provider("sim", OpenAIAdapter(base_url=f"{url}/openai/v1", dialect="openai"), price_name="openai")
    enrolment.add_provider("claude", AnthropicAdapter(base_url=f"{url}/anthropic"), price_name="anthropic")
    for tier, key in enumerate(keys):
        provider, globs = ("sim", ["gpt*"]) if key.startswith("o") else ("claude", ["claude*"])
        enrolment.add_key(world.secret(key), provider, {"id": key, "tier": tier, "models": globs})
    enrolment.add_alias("either", [f"sim/{OPENAI}", f"claude/{CLAUDE}"])
    return router


@dataclass
class Sim:
    """A served world and its address."""

    world: World
    url: str


def at_rest(router: ApiKeyRouter) -> bool:
    """Whether no lease is open and nothing is held."""
    return router.get_state_summary().open_leases == 0


class AttentiveApp(SimulatorApp):
    """A simulator whose models understand the prompt a little."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await super().__call__(scope, receive, send)
            return
        body = attentive(await read_body(receive) or b"")
        told = False

        async def again() -> Any:
            nonlocal told
            if told:
                return await receive()
            told = True
            return {"type": "http.request", "body": body, "more_body": False}

        await super().__call__(scope, again, send)


def attentive(raw: bytes) -> bytes:
    """The body with the tool chosen and the values filled in that the prompt names."""
    try:
        body = json.loads(raw)
    except ValueError:
        return raw
    prompt = _prompt(body)
    tools = body.get("tools") if isinstance(body, dict) else None
    if prompt is not None and body.get("response_format") == {"type": "json_object"}:
        body["response_format"] = _named_in(prompt)
    elif not tools or prompt is None:
        return raw
    for tool in tools or ():
        _fill(_schema(tool), prompt)
    _choose(body, tools or [], prompt)
    return json.dumps(body, ensure_ascii=False).encode()


def _named_in(prompt: str) -> dict[str, Any]:
    """A schema with the keys that a prompt for JSON puts in quotes."""
    keys = re.findall(r"[`'\"](\w+)[`'\"]", prompt)
    schema = {"type": "object", "properties": {key: {"type": "string"} for key in keys}}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def _prompt(body: Any) -> str | None:
    """The text of the last message, if it is a person's."""
    messages = body.get("messages") if isinstance(body, dict) else None
    last = messages[-1] if messages else {}
    content = last.get("content")
    if last.get("role") != "user":
        return None
    if isinstance(content, str):
        return content
    parts = content or []
    if any(part.get("type") == "tool_result" for part in parts):
        return None
    return " ".join(part.get("text", "") for part in parts)


def _schema(tool: Mapping[str, Any]) -> dict[str, Any]:
    found = tool.get("input_schema") or tool.get("function", {}).get("parameters") or {}
    return dict(found.get("properties") or {}) if not isinstance(found.get("properties"), dict) else found["properties"]


def _fill(properties: dict[str, Any], prompt: str) -> None:
    number, quoted = _CALL.search(prompt), _QUOTED.search(prompt)
    for spec in properties.values():
        if number and spec.get("type") == "integer":
            spec["const"] = int(number[1])
        elif quoted and spec.get("type") == "string":
            spec["const"] = quoted[1]


def _choose(body: dict[str, Any], tools: list[dict[str, Any]], prompt: str) -> None:
    if body.get("tool_choice") not in (None, "auto", {"type": "auto"}):
        return
    for tool in tools:
        name = tool.get("name") or tool.get("function", {}).get("name") or ""
        if any(len(word) >= _LONG_WORD and word in prompt.lower() for word in name.lower().split("_")):
            own = "function" not in tool
            body["tool_choice"] = (
                {"type": "tool", "name": name} if own else {"type": "function", "function": {"name": name}}
            )
            return
