"""The same router without async: several threads, one budget, no event loop in sight.

Look at the last line: twenty requests from four threads, and what all of them spent together.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from apikeyrouter import ApiKeyRouter
from apikeyrouter.simulator import Organisation, World, limits, serve

WORLD = World([Organisation(id="org-a", keys=("a1", "a2"), limits=limits(rpm=600, tpm=100_000))])
QUESTION = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "How many?"}], "max_tokens": 30}


def main() -> None:
    """Ask from four threads, then stream in this one."""
    with serve(WORLD) as url:
        router = ApiKeyRouter.from_config(
            {
                "providers": {"openai": {"adapter": "openai", "base_url": f"{url}/v1"}},
                "pools": {"org-a": {"limits": {"rpm": 600, "tpm": 100_000}, "shared_by": ["a1", "a2"]}},
                "keys": {key: {"provider": "openai", "secret": WORLD.secret(key)} for key in ("a1", "a2")},
                "budgets": {"all": {"scope": "global", "limit": "1 USD", "period": "total"}},
            }
        )
        with ThreadPoolExecutor(4) as threads:
            keys = list(threads.map(lambda _: router.sync.route(QUESTION).metadata.key_used, range(20)))
        print("streamed:", "".join(chunk.text for chunk in router.sync.stream(QUESTION)))
        (budget,) = router.budget_status("global")
        print(f"{len(keys)} replies by {sorted(set(keys))}, ${budget.spent} of ${budget.limit} spent")
        router.sync.close()
    if len(WORLD.record.all(outcome="admitted")) != 21:
        raise SystemExit("a request was lost")


if __name__ == "__main__":
    main()
