"""Text messages: what must never be sent twice. The answer names the price; a lost answer is told, not repeated.

Look at the third message: its connection breaks after it left, so nobody knows whether it arrived. The router raises
instead of sending it again, while a refusal (the second message's 503) goes by the other key. Where a service knows
repeats by a header, `"idempotency": "Idempotency-Key"` in the operation lets the same key repeat the message safely.
"""

from __future__ import annotations

import asyncio

from apikeyrouter import ApiKeyRouter, ProviderError
from apikeyrouter.simulator import Fault, Organisation, World, serve

WORLD = World([Organisation(id=f"team-{n}", keys=(f"sms-{n}",), dialect="plain") for n in (1, 2)])
SEND = {"method": "POST", "path": "/v1/messages", "body": {"to": "{to}", "text": "{text}"}, "limits": {"rpm": 30}}


async def main() -> None:
    """Send three messages while things go wrong."""
    async with serve(WORLD) as url:
        gateway = {
            "adapter": "http",
            "base_url": f"{url}/sms",
            "auth": {"header": "X-Api-Key"},
            "operations": {"send": SEND},
            "cost": {"path": "$.price"},
        }
        keys = {f"sms-{n}": {"provider": "gateway", "secret": WORLD.secret(f"sms-{n}"), "tier": n} for n in (1, 2)}
        async with ApiKeyRouter.from_config({"providers": {"gateway": gateway}, "keys": keys}) as router:
            await send(router, "Your parcel is on its way")
            WORLD.faults.fail_next(2, error="overloaded", key="sms-1")
            await send(router, "Your parcel arrives at noon")
            WORLD.faults.add(Fault(kind="drop", operation="message", times=1))
            await send(router, "Your parcel is at the door")
    if len(WORLD.record.all(outcome="admitted")) != 2 or len(WORLD.record.all(outcome="fault")) != 3:
        raise SystemExit("a message was sent twice, or not at all")


async def send(router: ApiKeyRouter, text: str) -> None:
    """Send one message and tell what became of it."""
    try:
        reply = await router.route({"to": "+4712345678", "text": text}, operation="send", provider="gateway")
    except ProviderError as error:
        print(f"{text!r}: {error}")
    else:
        used = reply.metadata
        print(f"{text!r}: sent by {used.key_used} for ${used.cost} after {used.attempts} attempts")


if __name__ == "__main__":
    asyncio.run(main())
