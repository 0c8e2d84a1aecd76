"""What LiteLLM decides before a pick (plugins, auto routers) holds in every generation of its Router."""

from __future__ import annotations

from typing import Any

import pytest
from litellm_stage import Opener, Stage, deployment

from apikeyrouter.simulator import World

HARD = [
    {"role": "user", "content": "Prove step by step, and reason carefully, that this distributed algorithm is right"}
]
EASY = [{"role": "user", "content": "hi"}]


class Only:
    """A plugin of LiteLLM's Router that leaves one model."""

    def __init__(self, model: str) -> None:
        self.model, self.asked = model, 0

    async def run(self, context: Any) -> Any:
        self.asked += 1
        context.candidate_models = [one for one in context.candidate_models if one == self.model]
        return context


def two_models(world: World, url: str) -> list[Any]:
    return [
        deployment(world, url, "a1", rpm=600),
        deployment(world, url, "b1", model="openai/gpt-4o", rpm=600),
    ]


async def test_a_plugin_narrows_what_is_picked_from(opened: Opener) -> None:
    plugin = Only("openai/gpt-4o")
    stage = await opened(models=two_models, plugins=[plugin])
    for _ in range(4):
        await stage.chat()
    assert plugin.asked == 4
    assert stage.keys_used == {"b1": 4}


def by_difficulty(world: World, url: str) -> list[Any]:
    tiers = {
        "SIMPLE": {"model_name": "small", "litellm_params": {"max_tokens": 5}},
        "MEDIUM": "large",
        "COMPLEX": "large",
        "REASONING": "large",
    }
    config = {
        "tiers": {tier: one if isinstance(one, str) else one["model_name"] for tier, one in tiers.items()},
        "tier_model_configs": {"SIMPLE": [tiers["SIMPLE"]]},
    }
    auto = {"model": "auto_router/complexity_router", "complexity_router_config": config}
    return [
        {"model_name": "auto", "litellm_params": {**auto, "complexity_router_default_model": "large"}},
        deployment(world, url, "a1", group="small", rpm=600),
        deployment(world, url, "b1", group="large", model="openai/gpt-4o", rpm=600),
    ]


@pytest.mark.parametrize(("messages", "key"), [(EASY, "a1"), (HARD, "b1")])
async def test_an_auto_router_chooses_the_model_and_we_its_key(opened: Opener, messages: Any, key: str) -> None:
    stage: Stage = await opened(models=by_difficulty)
    await stage.chat(model="auto", messages=messages)
    assert stage.keys_used == {key: 1}


async def test_what_an_auto_router_puts_into_the_call_is_sent(opened: Opener) -> None:
    stage: Stage = await opened(models=by_difficulty)
    await stage.chat(model="auto", messages=EASY)
    await stage.quiet()
    (one,) = stage.world.record.all()
    assert one.output_tokens == 5
    (bill,) = stage.bills
    assert bill.output_tokens == 5
