"""`simulate`: simulated providers on loopback until interrupted, and a configuration that knows them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from apikeyrouter.simulator import Organisation, World, serve
from apikeyrouter.simulator.server import describe

_ADAPTERS = {"openai": "openai", "anthropic": "anthropic", "gemini": "gemini", "plain": "http"}
_GEOCODER = """\
  geo:
    adapter: http
    base_url: "{url}/geo"
    auth: {{header: X-Api-Key}}
    operations: {{geocode: {{method: GET, path: /v1/geocode, params: [q]}}}}
    cost: {{per_request: "0.0005"}}
"""
_BASES = {"openai": "/openai/v1", "anthropic": "/anthropic", "gemini": "/gemini/v1beta"}


def simulate(world: World, host: str, port: int, seconds: float | None, announce: Callable[[str], object]) -> None:
    """Serve for `seconds`, or until interrupted. `announce` is told the base address once it answers."""

    async def run() -> None:
        async with serve(world, host=host, port=port) as url:
            announce(url)
            await (asyncio.Event().wait() if seconds is None else asyncio.sleep(seconds))

    with contextlib.suppress(KeyboardInterrupt):  # the way to end it
        asyncio.run(run())


def data(world: World, url: str) -> dict[str, object]:
    """Addresses and made-up keys, for programs."""
    return {
        "url": url,
        "state": f"{url}/_sim/state",
        "keys": [
            {"id": key.id, "organisation": key.organisation.id, "status": key.status, "secret": world.secret(key.id)}
            for key in world.keys.values()
        ],
    }


def text(world: World, url: str) -> str:
    """The same for people."""
    return describe(world, url).rstrip("\n")


def configuration(world: World, url: str) -> str:
    """A configuration for the world served at `url`; its keys are made up, so they stand in the file."""
    organisations = [org.spec for org in world.organisations.values()]
    spoken = dict.fromkeys(org.dialect for org in organisations)
    lines = ["# Simulated providers (`apikeyrouter simulate`); the keys are made up and open nothing.", "providers:"]
    for dialect in spoken:
        if dialect == "plain":
            lines.append(_GEOCODER.format(url=url).rstrip("\n"))
        else:
            lines.append(f'  {dialect}: {{adapter: {_ADAPTERS[dialect]}, base_url: "{url}{_BASES[dialect]}"}}')
    lines.append("pools:")
    lines += [f"  {org.id}: {{limits: [{_limits(org)}]}}" for org in organisations]
    lines.append("keys:")
    for key in world.keys.values():
        dialect = key.organisation.spec.dialect
        provider = "geo" if dialect == "plain" else dialect
        lines.append(
            f"  {key.id}: {{provider: {provider}, pool: {key.organisation.id}, secret: {world.secret(key.id)}}}"
        )
    return "\n".join(lines) + "\n"


def _limits(org: Organisation) -> str:
    """The limits of an organisation as a configuration states them; families of models are left to the headers."""
    stated = []
    for limit in org.limits:
        of = {"input": "input_tokens", "output": "output_tokens"}.get(limit.counts, limit.counts)
        per = {1.0: "second", 60.0: "minute", 3600.0: "hour", 86_400.0: "day"}.get(limit.per_s)
        if per is not None:
            shape = "bucket" if limit.shape == "bucket" else "fixed"
            burst = f", burst_s: {limit.burst_s:g}" if limit.burst_s is not None else ""
            stated.append(f"{{of: {of}, amount: {limit.amount}, per: {per}, window: {shape}{burst}}}")
    return ", ".join(stated)
