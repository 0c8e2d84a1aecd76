"""Keys of two organisations behind one router: ask ten times, see who serves, what it costs, and why.

The simulator stands in for the provider and enforces its limits; with a real one only addresses and secrets differ.
Look at the explanation: it names every other key and the number that ruled it out.
"""

from __future__ import annotations

import asyncio

from apikeyrouter import ApiKeyRouter
from apikeyrouter.simulator import Organisation, World, limits, serve

WORLD = World(
    [
        Organisation(id="org-a", keys=("a1", "a2"), limits=limits(rpm=3)),
        Organisation(id="org-b", keys=("b1",), limits=limits(rpm=60)),
    ]
)


async def main() -> None:
    """Route ten chats."""
    async with serve(WORLD) as url:
        config = {
            "providers": {"openai": {"adapter": "openai", "base_url": f"{url}/v1"}},
            "pools": {"org-a": {"limits": {"rpm": 3}, "shared_by": ["a1", "a2"]}},
            "keys": {key: {"provider": "openai", "secret": WORLD.secret(key)} for key in ("a1", "a2", "b1")},
            "budgets": {"daily": {"scope": "global", "limit": "1 USD", "period": "day", "mode": "hard"}},
        }
        async with ApiKeyRouter.from_config(config) as router:
            for number in range(10):
                body = {"messages": [{"role": "user", "content": f"Question {number}"}], "max_tokens": 50}
                reply = await router.route({"model": "gpt-4o-mini", **body})
                print(f"{reply.metadata.key_used}  ${reply.metadata.cost}  {str(reply.content)[:40]!r}")
            print(router.explain(reply.metadata.decision_id))
    if len(WORLD.record.all(outcome="admitted")) != 10 or WORLD.record.all(outcome="throttled"):
        raise SystemExit("a request was lost, or a limit was hit")


if __name__ == "__main__":
    asyncio.run(main())
