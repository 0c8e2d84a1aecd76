"""Send with your own client: the router chooses the key and holds its quota; you report what became of it.

Nothing here sends but httpx. Look at the output: one 429 stops both keys of its organisation, and the other serves.
"""

from __future__ import annotations

import httpx

from apikeyrouter import ApiKeyRouter, Limit, OpenAIAdapter, Request, Usage
from apikeyrouter.simulator import Fault, Organisation, World, limits, serve

WORLD = World(
    [
        Organisation(id="org-a", keys=("a1", "a2"), limits=limits(rpm=600)),
        Organisation(id="org-b", keys=("b1",), limits=limits(rpm=60)),
    ]
)
BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20}


def main() -> None:
    """Six requests, the first of which meets a provider that says: not now."""
    router = ApiKeyRouter()
    WORLD.faults.add(Fault(kind="error", status=429, headers={"retry-after": "20"}, organisation="org-a", times=1))
    with serve(WORLD) as url, httpx.Client(base_url=url) as client:
        router.enrolment.add_provider("openai", OpenAIAdapter(f"{url}/v1"))
        for key, pool in (("a1", "org-a"), ("a2", "org-a"), ("b1", "org-b")):
            rpm = 600 if pool == "org-a" else 60
            router.enrolment.add_key(WORLD.secret(key), "openai", {"id": key, "pool": pool, "limits": [Limit.rpm(rpm)]})
        for _ in range(6):
            lease = router.acquire(Request(model="gpt-4o-mini", input_tokens=9, max_output_tokens=20))
            sent = client.post("/v1/chat/completions", json=BODY, headers={"authorization": f"Bearer {lease.secret()}"})
            if sent.status_code == 200:
                usage = sent.json()["usage"]
                used = Usage(input_tokens=usage["prompt_tokens"], output_tokens=usage["completion_tokens"])
                router.settle(lease, used, headers=dict(sent.headers))
                print(f"{lease.key_id}: served")
            else:
                failure = router.fail(lease, sent.status_code, dict(sent.headers), sent.text)
                print(
                    f"{lease.key_id}: {failure.kind}, blamed on the {failure.blame}, again in {failure.retry_after} s"
                )
        print(router)
    if router.get_state_summary().open_leases:
        raise SystemExit("something is still held")


if __name__ == "__main__":
    main()
