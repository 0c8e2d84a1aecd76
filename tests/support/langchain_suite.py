"""The standard suite's settings for pools of this door: what the wire can carry is switched on, nothing is excused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_stage import OPENAI, Sim, at_rest
from langchain_tests.integration_tests import ChatModelIntegrationTests

from apikeyrouter import ApiKeyRouter
from apikeyrouter.langchain import ChatApiKeyRouter

FAILING_FIRST = {
    "openai": ["o-429", "o-401", "o-500", "o-529", "o-ok"],
    "anthropic": ["a-429", "a-401", "a-500", "a-529", "a-ok"],
    "mixed": ["o-429", "a-401", "o-500", "a-529", "a-ok", "o-ok"],
}


class PoolSuite(ChatModelIntegrationTests):
    """Subclass with `pool`, `name` and `made`; after every test nothing may be open."""

    pool = "openai"
    name = OPENAI
    other = "gpt-4o"
    audio = False
    sim: Sim
    routers: list[ApiKeyRouter]

    @pytest.fixture(autouse=True)
    def _at_rest(self, sim: Sim) -> Iterator[None]:
        type(self).sim = sim
        self.routers = []
        yield
        assert all(at_rest(router) for router in self.routers)

    def made(self) -> dict[str, Any]:
        """The model's own arguments, with a router that has served nothing yet."""
        raise NotImplementedError

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatApiKeyRouter

    @property
    def chat_model_params(self) -> dict[str, Any]:
        made = self.made()
        self.routers.append(made["router"])
        return made

    @property
    def model_override_value(self) -> str:
        return self.other

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_urls(self) -> bool:
        return True

    @property
    def supports_pdf_inputs(self) -> bool:
        return True

    @property
    def supports_audio_inputs(self) -> bool:
        return self.audio

    @property
    def supports_image_tool_message(self) -> bool:
        return True

    @property
    def supports_pdf_tool_message(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True
