"""CrewAI: its models take no http client, but one of your own needs a single method. Needs `pip install crewai`."""

from __future__ import annotations

from typing import Any

from crewai import Agent
from crewai.llms.base_llm import BaseLLM
from two_keys import two_keys

with two_keys() as (router, _):

    class Routed(BaseLLM):
        """Every key of the router."""

        def call(self, messages: Any, *_: Any, **__: Any) -> str:
            said = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
            known = [{"role": each["role"], "content": each["content"]} for each in said]
            return str(router.sync.route({"model": self.model, "messages": known}).content)

    agent = Agent(role="reporter", goal="tell the weather", backstory="a sailor", llm=Routed(model="gpt-4o-mini"))
    for city in ("Oslo", "Rome"):
        print(agent.kickoff(f"The weather in {city}?").raw)
