"""The search for key material finds what it should, and the engine gives it nothing to find."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable

import httpx
import pytest
from canary import Canaries

from apikeyrouter import ApiKeyRouter, InvalidRequestError
from apikeyrouter.adapters import OpenAIAdapter
from apikeyrouter.core.model import Request, Usage
from apikeyrouter.credentials import Secret
from apikeyrouter.errors import ApiKeyRouterError, AuthenticationError, NoEligibleKeysError
from apikeyrouter.testing import RawProvider, response


@pytest.fixture
def searched() -> Canaries:
    """A search of its own, so that what it finds fails nobody."""
    return Canaries()


def record(message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("apikeyrouter.x", logging.INFO, "f", 1, message, args, None)


def test_material_is_found_wherever_it_shows(searched: Canaries) -> None:
    material = searched.new()
    searched.look(f"Bearer {material}", "a text")
    searched.emit(record("sent %s", material))
    searched.emit(record("sent %r", Secret(material)))
    assert searched.take_found() == ["a text", "a log record of apikeyrouter.x"]
    assert searched.take_found() == []


def test_an_exception_in_a_log_record_is_searched(searched: Canaries) -> None:
    failed = record("failed")
    error = ValueError(searched.new())
    failed.exc_info = (type(error), error, None)
    searched.emit(failed)
    assert searched.take_found() == ["a log record of apikeyrouter.x"]


class Careless:
    """What a value of the package would be that shows its material."""

    __module__ = "apikeyrouter.careless"

    def __init__(self, material: str) -> None:
        self.material = material

    def __repr__(self) -> str:
        return self.material


def test_living_objects_are_searched(searched: Canaries) -> None:
    careless = Careless(searched.new())
    assert gc.is_tracked(careless)
    searched.look_at_living_objects()
    assert searched.take_found() == ["the repr of a Careless"]


def test_errors_and_secrets_are_watched_while_a_run_lasts(searched: Canaries) -> None:
    searched.watch_errors()
    searched.watch_secrets()
    try:
        Secret("sk-abcdefghijklmnopqrstuvwxyz")
        assert searched.materials == {"sk-abcdefghijklmnopqrstuvwxyz"}
        ApiKeyRouterError("nothing to see")
        material = searched.new()
        ApiKeyRouterError("in the details", details={"key": material})
        InvalidRequestError(f"in the text {material}")
    finally:
        for undo in reversed(searched._undo):
            undo()
    assert searched.take_found() == ["a ApiKeyRouterError", "a InvalidRequestError"]


async def test_a_request_that_goes_well_shows_nothing(canary: Callable[[], str]) -> None:
    async with ApiKeyRouter() as router:
        await router.register_provider("p", "openai")
        for i in range(3):
            await router.register_key(canary(), "p", id=f"k{i}")
        lease = router.acquire(Request(model="m", input_tokens=1, max_output_tokens=1))
        assert lease.secret().startswith("sk-canary-")
        router.settle(lease, Usage(input_tokens=1))
        await router.rotate_key("k0", canary())
        assert str(router.explain(lease.decision.id))


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 429, 500, 503])
async def test_a_provider_that_repeats_the_key_shows_nothing(canary: Callable[[], str], status: int) -> None:
    """The worst of providers: whatever it answers has the material in body and headers."""
    material = canary()
    body = f'{{"error": {{"message": "Incorrect API key provided: {material}", "code": "x", "param": "{material}"}}}}'
    answer = response(body.encode(), status=status, headers={"x-request-id": material})
    async with RawProvider([answer]) as provider, ApiKeyRouter() as router:
        await router.register_provider("p", OpenAIAdapter(base_url=provider.base_url))
        await router.register_key(material, "p", id="k")
        with pytest.raises((ApiKeyRouterError, httpx.HTTPError)) as caught:
            await router.route(
                {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}, timeout=5, wait=False
            )
        assert material not in f"{caught.value!r} {caught.value}"


async def test_everybody_refused_shows_nothing(canary: Callable[[], str]) -> None:
    async with ApiKeyRouter() as router:
        await router.register_provider("p", "openai")
        await router.register_key(canary(), "p", id="k")
        await router.disable_key("k", reason="leaked")
        with pytest.raises(NoEligibleKeysError):
            router.acquire(Request(model="m", input_tokens=1, max_output_tokens=1))
        with pytest.raises((AuthenticationError, NoEligibleKeysError)):
            await router.route({"model": "m", "messages": [{"role": "user", "content": "x"}]}, timeout=1)
