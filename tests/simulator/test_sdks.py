"""The providers' own SDKs against the simulator: what they parse, and what they raise."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from apikeyrouter.simulator import Organisation, VirtualClock, World, limits, serve

ASKED = [{"role": "user", "content": "hello there"}]


@pytest.fixture
async def sim() -> AsyncIterator[tuple[World, str]]:
    world = World(
        [
            Organisation(id="org-o", keys=("o1",), limits=limits(rpm=100, tpm=10_000)),
            Organisation(
                id="org-c", keys=("c1",), dialect="anthropic", limits=limits(rpm=100, itpm=10_000, otpm=10_000)
            ),
            Organisation(id="proj-g", keys=("g1",), dialect="gemini", limits=limits(rpm=100, tpm=10_000)),
        ],
        clock=VirtualClock(),
    )
    async with serve(world) as url:
        yield world, url


async def test_the_openai_sdk(sim: tuple[World, str]) -> None:
    openai = pytest.importorskip("openai", reason="the openai SDK is not installed in this environment")
    world, url = sim
    async with openai.AsyncOpenAI(api_key=world.secret("o1"), base_url=f"{url}/v1", max_retries=0) as client:
        said = await client.chat.completions.create(model="gpt-4o-mini", messages=ASKED, max_tokens=20)
        assert (said.choices[0].finish_reason, said.usage.completion_tokens) == ("length", 20)
        options = {"include_usage": True}
        stream = await client.chat.completions.create(
            model="gpt-4o-mini", messages=ASKED, stream=True, stream_options=options, max_tokens=20
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == said.choices[0].message.content
        assert chunks[-1].usage.completion_tokens == 20
        embedded = await client.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
        assert [len(row.embedding) for row in embedded.data] == [1536, 1536]
        response = await client.responses.create(model="gpt-4o", input="hello there")
        assert response.output_text
        async with client.responses.stream(model="gpt-4o", input="hello there") as events:
            kinds = [event.type async for event in events]
            assert (await events.get_final_response()).output_text == response.output_text
        assert kinds[-1] == "response.completed"
        assert (await client.completions.create(model="gpt-3.5-turbo-instruct", prompt="x")).choices[0].text
        assert "gpt-4o" in [model.id async for model in client.models.list()]
        with pytest.raises(openai.RateLimitError) as limited:
            await client.chat.completions.create(model="gpt-4o-mini", messages=ASKED, max_tokens=9_990)
        assert limited.value.code == "rate_limit_exceeded"
        assert float(limited.value.response.headers["retry-after-ms"]) > 0
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="gpt-9", messages=ASKED)
        world.revoke("o1")
        with pytest.raises(openai.AuthenticationError):
            await client.chat.completions.create(model="gpt-4o-mini", messages=ASKED)


async def test_the_openai_sdk_parses_what_a_schema_asks_for(sim: tuple[World, str]) -> None:
    openai = pytest.importorskip("openai", reason="the openai SDK is not installed in this environment")
    pydantic = pytest.importorskip("pydantic", reason="pydantic is part of the core install")

    class City(pydantic.BaseModel):
        name: str
        people: int
        rivers: list[str]

    world, url = sim
    async with openai.AsyncOpenAI(api_key=world.secret("o1"), base_url=f"{url}/v1") as client:
        said = await client.chat.completions.parse(model="gpt-4o-mini", messages=ASKED, response_format=City)
    assert said.choices[0].message.parsed == City(name="text", people=7, rivers=["text"])


async def test_the_anthropic_sdk(sim: tuple[World, str]) -> None:
    anthropic = pytest.importorskip("anthropic", reason="the anthropic SDK is not installed in this environment")
    world, url = sim
    async with anthropic.AsyncAnthropic(api_key=world.secret("c1"), base_url=url, max_retries=0) as client:
        said = await client.messages.create(model="claude-sonnet-4-6", messages=ASKED, max_tokens=20)
        assert (said.stop_reason, said.usage.output_tokens) == ("max_tokens", 20)
        async with client.messages.stream(model="claude-sonnet-4-6", messages=ASKED, max_tokens=20) as stream:
            text = "".join([part async for part in stream.text_stream])
            final = await stream.get_final_message()
        assert text == said.content[0].text == final.content[0].text
        assert final.usage.output_tokens == 20
        counted = await client.messages.count_tokens(model="claude-sonnet-4-6", messages=ASKED)
        assert counted.input_tokens == said.usage.input_tokens
        assert "claude-sonnet-4-6" in [model.id async for model in client.models.list()]
        with pytest.raises(anthropic.BadRequestError):
            await client.messages.create(model="claude-sonnet-4-6", messages=ASKED, max_tokens=200_000, timeout=5.0)
        long = [{"role": "user", "content": "x" * 41_000}]
        with pytest.raises(anthropic.RateLimitError):
            await client.messages.create(model="claude-sonnet-4-6", messages=long, max_tokens=20)
        world.faults.fail_next(1, error="overloaded")
        with pytest.raises(anthropic.APIStatusError) as overloaded:
            await client.messages.create(model="claude-sonnet-4-6", messages=ASKED, max_tokens=20)
        assert overloaded.value.status_code == 529


async def test_the_google_sdk(sim: tuple[World, str]) -> None:
    genai = pytest.importorskip("google.genai", reason="the google-genai SDK is not installed in this environment")
    world, url = sim
    options = genai.types.HttpOptions(base_url=url, retry_options=genai.types.HttpRetryOptions(attempts=1))
    client = genai.Client(api_key=world.secret("g1"), http_options=options)
    async with client.aio as aio:
        settings = genai.types.GenerateContentConfig(max_output_tokens=20)
        said = await aio.models.generate_content(model="gemini-2.5-flash", contents="hello", config=settings)
        assert said.usage_metadata.candidates_token_count == 20
        stream = await aio.models.generate_content_stream(model="gemini-2.5-flash", contents="hello", config=settings)
        assert "".join([part.text async for part in stream]) == said.text
        embedded = await aio.models.embed_content(model="gemini-embedding-001", contents=["a", "b"])
        assert [len(row.values) for row in embedded.embeddings] == [3_072, 3_072]
        assert (await aio.models.count_tokens(model="gemini-2.5-flash", contents="hello")).total_tokens == 2
        with pytest.raises(genai.errors.ClientError) as limited:
            await aio.models.generate_content(model="gemini-2.5-flash", contents="x" * 41_000)
        assert (limited.value.code, limited.value.status) == (429, "RESOURCE_EXHAUSTED")
        world.revoke("g1")
        with pytest.raises(genai.errors.ClientError) as refused:
            await aio.models.generate_content(model="gemini-2.5-flash", contents="x")
        assert refused.value.code == 400
