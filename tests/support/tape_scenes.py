"""What is on the cassettes: the providers, the requests that are asked of them, and the simulator's bad days.

A request is named (`chat`, `stream`, ...) so that whoever replays a cassette asks exactly what was asked when it was
recorded. A scene sets a simulated world up; the first key meets the trouble, the second one serves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from apikeyrouter.adapters import AnthropicAdapter, DeclarativeAdapter, GeminiAdapter, OpenAIAdapter
from apikeyrouter.adapters.http import Transport
from apikeyrouter.ports import Adapter, Answer, Call, ChunkStream
from apikeyrouter.simulator import Fault, LimitSpec, Organisation, VirtualClock, World, limits
from apikeyrouter.testing import PlainSecret

AT: Final = "2026-01-01T00:00:00Z"
"""When simulated and documented cassettes play."""
KEYS: Final = ("first", "second")
MATERIALS: Final = {f"key-of-the-cassettes-{name}": name for name in KEYS}
"""What stands for the keys in a replay."""
Clock = Callable[[], float]
Make = Callable[[Clock, Transport | None], Adapter]


def moment(text: str) -> float:
    """Epoch seconds of an RFC 3339 time."""
    return datetime.fromisoformat(text).timestamp()


# -- providers --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """How a provider is reached, what is asked of it, and by which variable a user gives a key of their own."""

    make: Make
    model: str = ""
    embedding_model: str = ""
    dialect: str = "openai"
    prefix: str = ""
    variable: str = ""
    asks: tuple[str, ...] = ("chat", "stream", "tools")


GEOCODER: Final[Mapping[str, object]] = {
    "base_url": "https://api.example.com",
    "auth": {"header": "X-Api-Key"},
    "operations": {
        "geocode": {"method": "GET", "path": "/geo/v1/geocode", "params": ["q"]},
        "message": {"method": "POST", "path": "/sms/v1/messages", "body": {"to": "{to}", "text": "{text}"}},
    },
    "limits_from": ["ratelimit", "retry-after"],
    "cost": {"path": "$.price"},
    "errors": [
        {"status": 403, "body": {"path": "$.code", "equals": "quota"}, "means": "quota_exhausted", "until": "day"}
    ],
}


def _openai(clock: Clock, transport: Transport | None) -> Adapter:
    return OpenAIAdapter(clock=clock, transport=transport)


def _anthropic(clock: Clock, transport: Transport | None) -> Adapter:
    return AnthropicAdapter(clock=clock, transport=transport)


def _gemini(clock: Clock, transport: Transport | None) -> Adapter:
    return GeminiAdapter(clock=clock, transport=transport)


def _http(clock: Clock, transport: Transport | None) -> Adapter:
    return DeclarativeAdapter(GEOCODER, clock=clock, transport=transport)


def _azure(clock: Clock, transport: Transport | None) -> Adapter:
    url = "https://example.openai.azure.com"
    return OpenAIAdapter(url, api_version="2024-10-21", clock=clock, transport=transport)


def _of_openai_shape(url: str) -> Make:
    return lambda clock, transport: OpenAIAdapter(url, clock=clock, transport=transport)


PROVIDERS: Final[Mapping[str, Provider]] = {
    "openai": Provider(
        make=_openai,
        model="gpt-4o-mini",
        embedding_model="text-embedding-3-small",
        variable="OPENAI_API_KEY",
        asks=("chat", "stream", "tools", "embeddings", "responses"),
    ),
    "anthropic": Provider(make=_anthropic, model="claude-haiku-4-5", dialect="anthropic", variable="ANTHROPIC_API_KEY"),
    "gemini": Provider(
        make=_gemini,
        model="gemini-2.5-flash",
        embedding_model="gemini-embedding-001",
        dialect="gemini",
        variable="GEMINI_API_KEY",
        asks=("chat", "stream", "tools", "embeddings"),
    ),
    "http": Provider(make=_http, dialect="plain", asks=("geocode", "message")),
    "azure": Provider(make=_azure, model="gpt-4o-mini"),
    "groq": Provider(
        make=_of_openai_shape("https://api.groq.com/openai/v1"),
        model="llama-3.3-70b-versatile",
        variable="GROQ_API_KEY",
    ),
    "openrouter": Provider(
        make=_of_openai_shape("https://openrouter.ai/api/v1"),
        model="openai/gpt-4o-mini",
        variable="OPENROUTER_API_KEY",
    ),
    "xai": Provider(make=_of_openai_shape("https://api.x.ai/v1"), model="grok-4", variable="XAI_API_KEY"),
}


# -- requests ---------------------------------------------------------------------------------------------------------

_HELLO: Final = [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": "Say hello."}]
_WEATHER: Final = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
_ASKED_WEATHER: Final = [{"role": "user", "content": "How is the weather in Oslo?"}]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request by its name."""

    operation: str = "chat"
    body: Mapping[str, Any] = field(default_factory=dict)
    streams: bool = False


ASKS: Final[Mapping[str, Ask]] = {
    "chat": Ask(body={"messages": _HELLO, "max_tokens": 24}),
    "stream": Ask(body={"messages": _HELLO, "max_tokens": 24}, streams=True),
    "tools": Ask(body={"messages": _ASKED_WEATHER, "max_tokens": 64, "tools": [_WEATHER], "tool_choice": "required"}),
    "embeddings": Ask(operation="embeddings", body={"input": ["sea", "sky"], "dimensions": 4}),
    "responses": Ask(operation="responses", body={"input": "Say hello.", "max_output_tokens": 24}),
    "geocode": Ask(operation="geocode", body={"q": "Oslo"}),
    "message": Ask(operation="message", body={"to": "+4799999999", "text": "Hello"}),
}


def body_of(provider: Provider, ask: Ask) -> dict[str, Any]:
    """The body of a request as a caller writes it."""
    model = provider.embedding_model if ask.operation == "embeddings" else provider.model
    return {"model": model, **ask.body} if model else dict(ask.body)


def call_of(provider: Provider, ask: Ask, material: str) -> Call:
    """The attempt that asks it with a key."""
    body = body_of(provider, ask)
    return Call(
        operation=ask.operation,
        model=str(body.get("model", ask.operation)),
        body=body,
        secret=PlainSecret(material),
        timeout=30.0,
        request_id="cassette",
    )


async def answered(adapter: Adapter, call: Call, *, streams: bool) -> tuple[Answer | ChunkStream, list[Any]]:
    """What an adapter makes of it; a stream's chunks beside it."""
    if not streams:
        return await adapter.send(call), []
    stream = await adapter.stream(call)
    chunks = [chunk async for chunk in stream]
    await stream.aclose()
    return stream, chunks


# -- the simulator's bad days -----------------------------------------------------------------------------------------

Limits = tuple[LimitSpec, ...]
AMPLE: Final[Mapping[str, Limits]] = {
    "openai": limits(rpm=500, tpm=200_000),
    "anthropic": limits(rpm=50, itpm=50_000, otpm=10_000),
    "gemini": limits(rpm=1_000, tpm=1_000_000, rpd=10_000, zone="America/Los_Angeles"),
    "plain": limits(rpm=60, rpd=1_000, shape="fixed"),
}
SPENT_MINUTE: Final[Mapping[str, Limits]] = {
    "openai": (LimitSpec(name="rpm", counts="requests", amount=500), *limits(tpm=2_000, start=0.0)),
    "anthropic": (*limits(rpm=50), *limits(itpm=1_000, start=0.0), *limits(otpm=10_000)),
    "gemini": limits(rpm=5, start=0.0),
    "plain": limits(rpm=60, shape="fixed", start=0.0),
}
_SPENT_DAY: Final = LimitSpec(name="rpd", counts="requests", amount=200, per_s=86_400.0, start=0.0)
SPENT_DAY: Final[Mapping[str, Limits]] = {
    "openai": (_SPENT_DAY,),
    "gemini": (
        LimitSpec(
            name="rpd",
            counts="requests",
            amount=250,
            per_s=86_400.0,
            shape="day",
            start=0.0,
            zone="America/Los_Angeles",
        ),
    ),
    "plain": (LimitSpec(name="rpd", counts="requests", amount=1_000, per_s=86_400.0, shape="day", start=0.0),),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A conversation with a simulated provider. `limits` are the first key's; `fault` meets the first key alone."""

    asks: str
    about: str
    limits: Mapping[str, Limits] | None = None
    fault: Fault | None = None
    revoked: bool = False
    unpaid: bool = False
    tier: str = "paid"


def _meets(**fault: Any) -> Fault:
    return Fault(key="first", **fault)


_DAY = "A day's quota is spent: the first key rests until it is there again, the second serves."
_FAILURES: Final[Mapping[str, Scene]] = {
    "unauthorized": Scene(asks="chat", about="The first key is not valid, the second one serves.", revoked=True),
    "rate_limited_minute": Scene(
        asks="chat", about="The first key's minute is spent, the second one serves.", limits=SPENT_MINUTE
    ),
    "out_of_money": Scene(asks="chat", about="The first account has no money left, the second serves.", unpaid=True),
    "overloaded": Scene(
        asks="chat", about="The provider is overloaded once.", fault=_meets(kind="error", error="overloaded", times=1)
    ),
}
_STREAMS: Final[Mapping[str, Scene]] = {
    "stream_refused": Scene(
        asks="stream", about="A stream is refused by status, the second key streams.", limits=SPENT_MINUTE
    ),
    "stream_overloaded": Scene(
        asks="stream",
        about="A 200 whose stream reports an overload before any content; the second attempt streams.",
        fault=_meets(kind="stream_error", error="overloaded", after=1, times=1),
    ),
}


def _cut(after: int) -> Scene:
    """A stream that breaks after so many pieces, some of which have text."""
    return Scene(
        asks="stream",
        about="The connection breaks in the middle of the answer: the caller keeps what came.",
        fault=_meets(kind="drop", after=after, times=1),
    )


_ASKED: Final[Mapping[str, Scene]] = {
    "chat": Scene(asks="chat", about="A chat completion."),
    "stream": Scene(asks="stream", about="A streamed chat completion with its usage."),
    "tools": Scene(asks="tools", about="A chat completion that calls a tool."),
    "embeddings": Scene(asks="embeddings", about="Two embeddings."),
    "responses": Scene(asks="responses", about="A response of the Responses API."),
}


def _served(*names: str) -> dict[str, Scene]:
    return {name: _ASKED[name] for name in names}


SCENES: Final[Mapping[str, Mapping[str, Scene]]] = {
    "openai": {
        **_served("chat", "stream", "tools", "embeddings", "responses"),
        **_FAILURES,
        **_STREAMS,
        "stream_cut": _cut(3),
        "rate_limited_day": Scene(asks="chat", about=_DAY, limits=SPENT_DAY),
        "spend_limit": Scene(
            asks="chat",
            about="The organisation has reached its monthly spend limit.",
            fault=_meets(kind="error", error="spend_limit"),
        ),
    },
    "anthropic": {
        **_served("chat", "stream", "tools"),
        **_FAILURES,
        **_STREAMS,
        "stream_cut": _cut(5),
        "spend_cap_month": Scene(
            asks="chat",
            about="A 429 without retry-after: the tier's monthly cap, until the first of the next month.",
            fault=_meets(kind="error", error="tier_spend_cap"),
        ),
    },
    "gemini": {
        **_served("chat", "stream", "tools", "embeddings"),
        **_FAILURES,
        "stream_refused": _STREAMS["stream_refused"],
        "stream_cut": _cut(2),
        "rate_limited_day": Scene(
            asks="chat",
            about="A day's quota is spent: retryDelay says 38 s, midnight in California is what counts.",
            limits=SPENT_DAY,
            tier="free",
        ),
    },
    "http": {
        "geocode": Scene(asks="geocode", about="An answer with its price and the quota in IETF headers."),
        "message": Scene(asks="message", about="A text message is accepted with 202."),
        **{
            name: Scene(
                asks="geocode",
                about=scene.about,
                limits=scene.limits,
                fault=scene.fault,
                revoked=scene.revoked,
                unpaid=scene.unpaid,
            )
            for name, scene in _FAILURES.items()
        },
        "quota_day": Scene(asks="geocode", about="403 with code quota: the day is spent.", limits=SPENT_DAY),
    },
}


def world_of(scene: Scene, dialect: str) -> World:
    """The simulated world of a scene, at the time when it plays; each key is an organisation's own."""
    ample = AMPLE[dialect]
    mine = ample if scene.limits is None else scene.limits[dialect]
    tier: Any = scene.tier
    organisations = (
        Organisation(id="org-1", keys=("first",), dialect=dialect, limits=mine, tier=tier),
        Organisation(id="org-2", keys=("second",), dialect=dialect, limits=ample),
    )
    world = World(organisations, clock=VirtualClock(moment(AT)))
    if scene.revoked:
        world.revoke("first")
    if scene.unpaid:
        world.unpaid("org-1")
    if scene.fault is not None:
        world.faults.add(Fault(**{name: getattr(scene.fault, name) for name in Fault.__slots__}))
    return world
