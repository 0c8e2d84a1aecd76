"""A stream that fails before its answer is replaced unseen; one that breaks later says what had arrived.

Look at the key of the first stream: it is the second one asked. The last stream is left early, which settles it.
"""

from __future__ import annotations

import asyncio

from apikeyrouter import ApiKeyRouter, OpenAIAdapter, PartialStreamError
from apikeyrouter.simulator import Fault, Organisation, World, serve

WORLD = World([Organisation(id="org-a", keys=("a1",)), Organisation(id="org-b", keys=("b1",))])
BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "A poem"}], "max_tokens": 40}


async def main() -> None:
    """Stream three times, against a provider that fails twice."""
    async with serve(WORLD) as url, ApiKeyRouter() as router:
        await router.register_provider("openai", OpenAIAdapter(f"{url}/v1"))
        for key in ("a1", "b1"):
            await router.register_key(WORLD.secret(key), "openai", id=key)

        WORLD.faults.add(Fault(kind="empty_stream", times=1))
        stream = router.stream(BODY)
        print("whole:  ", "".join([chunk.text async for chunk in stream]))
        print("        ", stream.metadata and (stream.metadata.key_used, stream.metadata.attempts), stream.usage)

        WORLD.faults.add(Fault(kind="stream_error", times=1, after=3))
        try:
            print([chunk.text async for chunk in router.stream(BODY)])
        except PartialStreamError as broken:
            print("partial:", broken.text, "|", broken)

        async with router.stream(BODY) as stream:
            async for chunk in stream:
                if chunk.text:
                    print("left at:", chunk.text)
                    break
        if router.get_state_summary().open_leases:
            raise SystemExit("something is still held")


if __name__ == "__main__":
    asyncio.run(main())
