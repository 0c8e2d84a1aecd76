"""A provider of one answer, in a process of its own: as little work as HTTP allows, so that the client is what counts.

It says over and over what a chat completion says, whole or as events, with OpenAI's headers. Events leave one by one.
Prints its port. Only the standard library.
"""

from __future__ import annotations

import asyncio
import json
import socket

WORDS = [f"word{number:02d} " for number in range(48)]
TEXT = "".join(WORDS)
USAGE = {
    "prompt_tokens": 212,
    "completion_tokens": 48,
    "total_tokens": 260,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}
COMMON = {"created": 1_767_225_600, "model": "gpt-4o-mini", "service_tier": "default", "system_fingerprint": "fp_1"}
QUOTAS = (
    b"openai-organization: org-1\r\nopenai-processing-ms: 12\r\nopenai-version: 2020-10-01\r\nx-request-id: req_1\r\n"
    b"x-ratelimit-limit-requests: 30000\r\nx-ratelimit-remaining-requests: 29999\r\nx-ratelimit-reset-requests: 2ms\r\n"
    b"x-ratelimit-limit-tokens: 150000000\r\nx-ratelimit-remaining-tokens: 149999740\r\n"
    b"x-ratelimit-reset-tokens: 0s\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
)


def whole() -> bytes:
    """The answer to a request that does not stream."""
    message = {"role": "assistant", "content": TEXT, "refusal": None, "annotations": []}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    said = {"id": "chatcmpl-1", "object": "chat.completion", **COMMON, "choices": [choice], "usage": USAGE}
    body = json.dumps(said).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n%b" % (
        QUOTAS,
        len(body),
        body,
    )


def events() -> list[bytes]:
    """The parts of an answer that streams: its headers, then one event each, as HTTP chunks."""
    deltas: list[dict[str, object]] = [{"role": "assistant", "content": "", "refusal": None}]
    deltas += [{"content": word} for word in WORDS]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", **COMMON}
    said = [
        json.dumps(
            {**head, "choices": [{"index": 0, "delta": d, "logprobs": None, "finish_reason": None}], "usage": None}
        )
        for d in deltas
    ]
    last = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    said += [json.dumps({**head, "choices": [last], "usage": None})]
    said += [json.dumps({**head, "choices": [], "usage": USAGE}), "[DONE]"]
    parts = [f"data: {each}\n\n".encode() for each in said]
    start = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n%btransfer-encoding: chunked\r\n\r\n"
    return [start % QUOTAS, *(b"%x\r\n%b\r\n" % (len(part), part) for part in parts), b"0\r\n\r\n"]


WHOLE, EVENTS = whole(), events()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, request after request."""
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            body = await reader.readexactly(int(length or 0))
            if b'"stream":true' not in body.replace(b" ", b""):
                writer.write(WHOLE)
            else:
                for part in EVENTS:
                    writer.write(part)
                    await asyncio.sleep(0)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    """Serves on a free port until it is ended."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
