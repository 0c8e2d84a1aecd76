"""A provider of your own in forty lines: say what to send, where the answer is, and what a stream's events mean.

Connections, timeouts, failures, quota headers and hiding keys come with `HTTPAdapter`. Run it: it asks a small server
on loopback for a poem, whole and line by line. `tests/adapters/test_custom.py` shows how to prove such an adapter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from apikeyrouter.adapters import HTTPAdapter
from apikeyrouter.adapters.http import Outgoing, Wire
from apikeyrouter.adapters.jsonhttp import encoded, secret_header
from apikeyrouter.adapters.reader import JSONReader
from apikeyrouter.adapters.sse import Event
from apikeyrouter.core.model import Capabilities, Usage
from apikeyrouter.ports import Call, Chunk
from apikeyrouter.testing import PlainSecret, RawProvider, chunked, response


class PoetAdapter(HTTPAdapter):
    """POST /poems {"theme": ..., "stream": ...} -> {"poem": ..., "tokens": {"read": ..., "written": ...}}."""

    capabilities = Capabilities(features=frozenset({"streaming"}), operations=frozenset({"poem"}))

    def __init__(self, base_url: str) -> None:
        super().__init__(Wire(base_url))

    def prepare(self, call: Call, *, streaming: bool) -> Outgoing:
        self.check(call.operation, call.body)
        headers = [secret_header("authorization", "Bearer ", call.secret), (b"content-type", b"application/json")]
        content = encoded({**call.body, "model": call.model, "stream": streaming})
        return Outgoing(method="POST", url=f"{self.wire.base_url}/poems", headers=headers, content=content)

    def usage(self, operation: str, raw: object) -> Usage | None:
        return counted(raw.get("tokens")) if isinstance(raw, dict) else None

    def content(self, operation: str, body: object) -> object:
        return body.get("poem") if isinstance(body, dict) else None

    def events(self, call: Call) -> Lines:
        return Lines(lambda raw: self.classify(200, {}, raw))


class Lines(JSONReader):
    """`data: {"line": ...}` until `data: {"tokens": ...}`."""

    def chunks(self, event: Event, raw: dict[str, object]) -> Iterable[Chunk]:
        self.started, self.done = True, "tokens" in raw
        line = str(raw.get("line", ""))
        yield Chunk(data=raw, text=line, content=bool(line), usage=counted(raw.get("tokens")))


def counted(tokens: object) -> Usage | None:
    """Usage out of the provider's count."""
    if not isinstance(tokens, dict):
        return None
    return Usage(input_tokens=tokens["read"], output_tokens=tokens["written"])


async def main() -> None:
    """Ask for one poem in both ways."""
    call = Call(operation="poem", model="p1", body={"theme": "keys"}, secret=PlainSecret(), timeout=5, request_id="r1")
    whole = response(b'{"poem": "Ten keys, one lock", "tokens": {"read": 3, "written": 5}}')
    lines = [b'data: {"line": "Ten keys, "}\n\n', b'data: {"line": "one lock"}\n\n']
    async with RawProvider([whole]) as provider:
        adapter = PoetAdapter(provider.base_url)
        answer = await adapter.send(call)
        print("whole: ", answer.content, answer.usage)
        provider.script = [chunked(*lines, b'data: {"tokens": {"read": 3, "written": 5}}\n\n')]
        said = [chunk.text async for chunk in await adapter.stream(call)]
        print("stream:", said)
        await adapter.aclose()
    if answer.content != "".join(said):
        raise SystemExit("the two poems differ")


if __name__ == "__main__":
    asyncio.run(main())
