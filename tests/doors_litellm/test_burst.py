"""Sixty calls at once: what reaches the provider is what the limits allow, to the request; the rest is told when."""

from __future__ import annotations

import pytest
from litellm_burst import CALLS, KINDS, Limited, burst, by_engine, exact
from litellm_stage import Hurried

from apikeyrouter import ApiKeyRouter


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_what_reaches_the_provider_is_what_is_allowed(kind: Limited) -> None:
    result = await burst(by_engine(max_wait=0.0), ours=exact(kind))
    assert result.through == result.served == kind.fits
    assert result.refused == CALLS - kind.fits
    assert result.with_time == result.refused or kind.name == "budget"
    assert set(result.upstream.values()) == {kind.fits // 3}


async def test_the_rest_waits_where_it_may() -> None:
    result = await burst(by_engine(60.0, ApiKeyRouter(clock=Hurried())), ours={"rps": 10})
    assert (result.served, result.refused) == (CALLS, 0)
    assert 1.0 < result.waited_s < 1.1, "twenty calls a key: ten at once, ten a second later"


async def test_a_strategy_that_counts_afterwards_lets_all_through() -> None:
    tokens = next(kind for kind in KINDS if kind.name == "tpm")
    result = await burst(lambda router: None, given=tokens.theirs, routing_strategy="usage-based-routing-v2")
    assert result.through > 2 * tokens.fits, "or the table beside ours is out of date"
