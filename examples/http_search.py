"""A search API: nobody states its quota, so the answers' headers have to; one price for each query, a budget over all.

Look at the keys: the first account's four queries a minute are learned from `RateLimit` headers, so the fifth goes to
the second account without anybody being told 429. The ninth is more than the budget holds, and is never sent.
"""

from __future__ import annotations

import asyncio

from apikeyrouter import ApiKeyRouter, BudgetExceededError
from apikeyrouter.simulator import Organisation, World, limits, serve

WORLD = World(
    [
        Organisation(id="small", keys=("search-1",), dialect="plain", limits=limits(rpm=4, shape="fixed")),
        Organisation(id="large", keys=("search-2",), dialect="plain", limits=limits(rpm=600, shape="fixed")),
    ]
)
QUERIES = ("tide tables", "ferry times", "moon phase", "sea level", "wind map", "buoy data", "harbour fee", "pilot")


async def main() -> None:
    """Search until the money is gone."""
    async with serve(WORLD) as url:
        search = {
            "adapter": "http",
            "base_url": f"{url}/search",
            "auth": {"bearer": True},
            "operations": {"search": {"path": "/v1/query", "params": {"q": "{words}"}, "content": "$.hits"}},
            "limits_from": ["ratelimit", "retry-after"],
            "cost": {"per_request": "0.01"},
        }
        keys = {f"search-{n}": {"provider": "search", "secret": WORLD.secret(f"search-{n}"), "tier": n} for n in (1, 2)}
        daily = {"scope": "provider:search", "limit": "0.08 USD", "period": "day", "mode": "hard"}
        config = {"providers": {"search": search}, "keys": keys, "budgets": {"daily": daily}}
        async with ApiKeyRouter.from_config(config, log=False) as router:
            for words in QUERIES:
                reply = await router.route({"words": words}, operation="search", provider="search")
                print(f"{words:12} {reply.metadata.key_used}  ${reply.metadata.cost}  {len(reply.content)} hits")  # type: ignore[arg-type]
            try:
                await router.route({"words": "one more"}, operation="search", provider="search")
            except BudgetExceededError as error:
                print(error)
    used = [seen.key for seen in WORLD.record.all(outcome="admitted")]
    if used != ["search-1"] * 4 + ["search-2"] * 4 or WORLD.record.all(outcome="throttled"):
        raise SystemExit(f"the queries went elsewhere: {used}")


if __name__ == "__main__":
    asyncio.run(main())
