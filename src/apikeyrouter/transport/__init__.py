"""The door for every SDK that takes an http client: one argument, and it has every key you own.

    client = openai.OpenAI(api_key="routed", http_client=httpx.Client(transport=RouterTransport(router)))

Works under httpx and httpx2. Per attempt the credential that the SDK put into the request is replaced by a leased one;
refusals are retried on another key before the SDK sees them; the response settles the lease when it has been read.
"""

from __future__ import annotations

from apikeyrouter.transport.auth import RouterAuth
from apikeyrouter.transport.transports import AsyncRouterTransport, RouterTransport

__all__ = ["AsyncRouterTransport", "RouterAuth", "RouterTransport"]
