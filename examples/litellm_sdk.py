"""A litellm.Router that routes by ApiKeyRouter: one line, limits in `model_info`, waiting instead of 429.

Two keys of the simulated provider, ten calls a second with one and two with the other. Look at the last lines: every
call was answered, some after waiting for room, and each can be explained.
"""

from __future__ import annotations

import asyncio
import os
import sys

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or LiteLLM fetches its price list at import

import litellm

from apikeyrouter import ApiKeyRouter, Budget
from apikeyrouter.litellm import ApiKeyRoutingStrategy
from apikeyrouter.simulator import Organisation, World, limits, serve

MESSAGES = [{"role": "user", "content": "What does the sea say?"}]


def deployment(name: str, key: str, url: str, **limits: object) -> dict[str, object]:
    return {
        "model_name": "chat",
        "litellm_params": {"model": "openai/gpt-4o-mini", "api_key": key, "api_base": f"{url}/v1"},
        "model_info": {"id": name, "apikeyrouter": limits},
    }


async def main() -> int:
    plenty = limits(rpm=600, tpm=200_000)
    world = World([Organisation(id=f"org-{n}", keys=(f"{n}1",), limits=plenty) for n in "ab"])
    async with serve(world, thread=True) as url:
        router = litellm.Router(
            model_list=[
                deployment("key-a", world.secret("a1"), url, rps=10, tpm=200_000),
                deployment("key-b", world.secret("b1"), url, rps=2),
            ]
        )
        engine = ApiKeyRouter(budgets=[Budget(scope="tenant:acme", limit="5", period="day")])
        strategy = ApiKeyRoutingStrategy.install(router, engine)

        whose = {"apikeyrouter": {"tenant": "acme"}, "tags": ["feature=poems"]}
        calls = [router.acompletion(model="chat", messages=MESSAGES, max_tokens=30, metadata=whose) for _ in range(30)]
        answers = await asyncio.gather(*calls)

        told = [answer._hidden_params["apikeyrouter"] for answer in answers]
        print(f"{len(answers)} answered, {sum(one['waited_s'] > 0 for one in told)} of them waited for room")
        print(f"acme spent ${engine.budget_status('tenant:acme')[0].spent:f} of $5")
        print(strategy.engine.explain(told[-1]["decision_id"]))
        return 0 if len(answers) == 30 and not world.record.all(outcome="throttled") else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
