"""Every cassette, through the adapter alone and through the whole router, with no network: what is understood of it.

`expected.yaml` says what each must be understood as; what a good answer says is read off the file by other code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from rig import Hands
from tape import CASSETTES, label_of, playing
from tape_reader import Said, said
from tape_scenes import ASKS, MATERIALS, PROVIDERS, Ask, answered, body_of, call_of, moment

from apikeyrouter import ApiKeyRouter, PartialStreamError, ProviderError, Request, RetrySettings, Settings, Usage
from apikeyrouter.core.failure import Failure
from apikeyrouter.core.model import DIMENSIONS, Reading
from apikeyrouter.ports import Adapter
from apikeyrouter.streaming import RoutedStream

FILES = sorted(path for name in PROVIDERS for path in (CASSETTES / name).glob("*.yaml"))
Expected = Mapping[str, Any]
EXPECTED: Mapping[str, Expected] = yaml.safe_load((Path(__file__).parent / "expected.yaml").read_text("utf-8"))
EACH = pytest.mark.parametrize("path", FILES, ids=lambda path: name_of(path))
FIRST, SECOND = MATERIALS


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def expected(path: Path) -> Expected:
    """What the file must be understood as; of what was recorded from a provider only what cannot depend on the day."""
    found = EXPECTED[name_of(path)]
    if label_of(path).origin == "recorded":
        return {name: value for name, value in found.items() if name not in ("left", "usage", "cost", "wait")}
    return found


def test_each_cassette_is_expected() -> None:
    assert {name_of(path) for path in FILES} == set(EXPECTED)


# -- through the adapter ----------------------------------------------------------------------------------------------


@EACH
async def test_the_adapter_understands_it(path: Path) -> None:
    label, want = label_of(path), expected(path)
    provider, ask, at = PROVIDERS[path.parent.name], ASKS[label.asks], moment(label.at)
    adapter = provider.make(lambda: at, None)
    with playing(path, MATERIALS) as cassette:
        for number, material in enumerate(MATERIALS):
            if number == len(cassette):
                break
            answer, chunks = await answered(adapter, call_of(provider, ask, material), streams=ask.streams)
            failure = answer.failure or next((chunk.failure for chunk in chunks if chunk.failure), None)
            if number == 0:
                assert stated(adapter.limits(answer.headers)) == want.get(
                    "left", stated(adapter.limits(answer.headers))
                )
            if number == 0 and "kind" in want:
                judge(failure, want, at)
            else:
                assert failure is None
                agree(said(path), getattr(answer, "body", None), chunks, ask)
                used = getattr(answer, "usage", None) or next((c.usage for c in reversed(chunks) if c.usage), None)
                check_usage(used, path, want)
        assert cassette.all_played
    await adapter.aclose()


def judge(failure: Failure | None, want: Expected, at: float) -> None:
    """The failure is the one that is expected."""
    assert failure is not None
    assert (str(failure.kind), str(failure.blame), failure.status) == (want["kind"], want["blame"], want["status"])
    if "until" in want:
        assert failure.until == at + want["until"]
    else:
        assert failure.until is None
        assert failure.retry_after == pytest.approx(want.get("wait", failure.retry_after))
    assert ("wait" in want or "until" in want) == (failure.retry_after is not None)
    assert failure.message


def stated(readings: tuple[Reading, ...]) -> list[str]:
    """Readings as the table writes them."""
    return [
        f"{DIMENSIONS[r.of]} {r.remaining}/{r.limit}" + (f" per {r.period_s:.0f}" if r.period_s else "")
        for r in readings
    ]


def agree(truth: Said, body: Any, chunks: list[Any], ask: Ask) -> None:
    """What the adapter says and what the file says are the same."""
    if ask.streams:
        assert "".join(chunk.text for chunk in chunks) == truth.text
        assert truth.text
    elif ask.operation == "chat":
        message = body["choices"][0]["message"]
        assert (message["content"] or "") == truth.text
        calls = [each["function"] for each in message.get("tool_calls") or ()]
        assert [(each["name"], json.loads(each["arguments"])) for each in calls] == truth.tools
        assert truth.text or truth.tools
    elif ask.operation == "embeddings":
        assert [each["embedding"] for each in body["data"]] == truth.data
    else:
        assert body == truth.data


def check_usage(used: Usage | None, path: Path, want: Expected) -> None:
    """Usage is what the file says, and what the table says."""
    truth = said(path).usage
    if any(truth):
        assert used is not None
        assert (used.input_tokens, used.output_tokens) == truth
        assert list(truth) == want.get("usage", list(truth))
    else:
        assert "usage" not in want
    if "cost" in want:
        assert used is not None
        assert str(used.cost_reported) == want["cost"]


# -- through the whole router -----------------------------------------------------------------------------------------


async def router_for(path: Path, clock: Hands) -> ApiKeyRouter:
    """Two keys in pools of their own; the second only when the first cannot. No attempt goes to the same key again."""
    router = ApiKeyRouter(clock=clock, settings=Settings(retry=RetrySettings(per_key=1)), log=False)
    name = path.parent.name
    adapter: Adapter = PROVIDERS[name].make(clock.now, None)
    await router.register_provider(name, adapter)
    for tier, (material, key) in enumerate(MATERIALS.items()):
        await router.register_key(material, name, id=key, tier=tier)
    return router


@EACH
async def test_the_router_serves_it(path: Path) -> None:
    label, want = label_of(path), expected(path)
    ask = ASKS[label.asks]
    router = await router_for(path, Hands(moment(label.at)))
    with playing(path, MATERIALS) as cassette:
        if "ends" in want:
            await check_end(router, path, ask, want)
        else:
            await check_reply(router, path, ask, want)
        assert cassette.all_played
        attempts = len(cassette)
    check_state(router, path, want, attempts)
    await router.aclose()


async def check_reply(router: ApiKeyRouter, path: Path, ask: Ask, want: Expected) -> None:
    """The caller gets the good answer; what failed before it is told."""
    body, name = body_of(PROVIDERS[path.parent.name], ask), path.parent.name
    if ask.streams:
        stream = router.stream(body)
        text = "".join([chunk.text async for chunk in stream])
        metadata, usage = stream.metadata, stream.usage
    else:
        reply = await router.route(body, operation=ask.operation, provider=None if "model" in body else name)
        text, metadata, usage = str(reply.content or ""), reply.metadata, reply.usage
    assert metadata is not None
    failed = [(each.key, str(each.kind), each.status) for each in metadata.failed]
    assert failed == ([("first", want["kind"], want["status"])] if "kind" in want else [])
    assert metadata.key_used == ("second" if "kind" in want else "first")
    assert text == said(path).text or ask.operation not in ("chat", "responses")
    check_usage(usage, path, want)
    if "cost" in want:
        assert format(metadata.cost or 0, "f") == want["cost"]


async def read(stream: RoutedStream, parts: list[str]) -> None:
    async for chunk in stream:
        parts.append(chunk.text)  # noqa: PERF401 - what came before a break is of interest


async def check_end(router: ApiKeyRouter, path: Path, ask: Ask, want: Expected) -> None:
    """No other key is tried: the request is at fault, or part of the answer has reached the caller."""
    body = body_of(PROVIDERS[path.parent.name], ask)
    if want["ends"] == "partial":
        parts: list[str] = []
        with pytest.raises(PartialStreamError) as broken:
            await read(router.stream(body), parts)
        assert broken.value.text == "".join(parts) == said(path).text
        assert parts
        assert want["kind"] in str(broken.value)
        return
    with pytest.raises(ProviderError) as refused:
        await router.route(body)
    assert (refused.value.details["kind"], refused.value.details["blame"]) == (want["kind"], want["blame"])
    assert refused.value.details["attempts"] == 1


def check_state(router: ApiKeyRouter, path: Path, want: Expected, attempts: int) -> None:
    """What the answers did to keys and quotas, and whom the next request would go to."""
    label = label_of(path)
    at, ask = moment(label.at), ASKS[label.asks]
    summary = router.get_state_summary()
    keys = {key.id: key for key in summary.keys}
    assert summary.open_leases == 0
    assert str(keys["first"].state) == want.get("key", "available")
    assert str(keys["second"].state) == "available"
    rests = keys["first"].cooldown_until
    assert (None if rests is None else rests - at) == pytest.approx(want.get("rests"), abs=1e-3)
    model = str(body_of(PROVIDERS[path.parent.name], ask).get("model", ask.operation))
    chosen = router.preview(Request(model=model, operation=ask.operation)).chosen
    assert chosen is not None
    assert chosen.key.id == want.get("then", "first")
    if attempts == 1:
        left = {(w.name.partition("/")[0], int(w.limit)): w.remaining for p in router.quota("first") for w in p.windows}
        for line in want.get("left", ()):
            of, remaining, limit = line.split()[0], *map(int, line.split()[1].split("/"))
            assert left[of, next(cap for name, cap in left if name == of and abs(cap - limit) < 3)] == remaining
