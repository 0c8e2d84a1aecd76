"""Any HTTP API: a geocoder described in a few lines, two accounts with daily quotas, a price per request.

Look at the keys: the first account's five requests a day are used up, then the second serves; nobody is told 403 twice.
"""

from __future__ import annotations

import asyncio

from apikeyrouter import ApiKeyRouter
from apikeyrouter.simulator import Organisation, World, limits, serve

WORLD = World(
    [
        Organisation(id="small", keys=("geo-1",), dialect="plain", limits=limits(rpd=5, shape="fixed")),
        Organisation(id="large", keys=("geo-2",), dialect="plain", limits=limits(rpd=500, shape="fixed")),
    ]
)


async def main() -> None:
    """Find eight places."""
    async with serve(WORLD) as url:
        geocoder = {
            "adapter": "http",
            "base_url": f"{url}/geo",
            "auth": {"header": "X-Api-Key"},
            "operations": {"geocode": {"method": "GET", "path": "/v1/geocode", "params": ["q"]}},
            "cost": {"per_request": "0.0005"},
            "errors": [{"status": 403, "body": {"path": "$.code", "equals": "quota"}, "means": "quota_exhausted"}],
        }
        keys = {
            "geo-1": {"provider": "geocoder", "secret": WORLD.secret("geo-1"), "tier": 1},
            "geo-2": {"provider": "geocoder", "secret": WORLD.secret("geo-2"), "tier": 2},
        }
        async with ApiKeyRouter.from_config({"providers": {"geocoder": geocoder}, "keys": keys}) as router:
            for place in ("Oslo", "Bergen", "Tromsø", "Bodø", "Ålesund", "Narvik", "Molde", "Hamar"):
                reply = await router.route({"q": place}, operation="geocode", provider="geocoder")
                print(f"{place:8} {reply.metadata.key_used}  ${reply.metadata.cost}  {reply.raw}")
    if len(WORLD.record.all(outcome="admitted")) != 8:
        raise SystemExit("a place was not found")


if __name__ == "__main__":
    asyncio.run(main())
