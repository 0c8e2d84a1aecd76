"""A program may change a deployment's dict in place, unseen by LiteLLM and by us: the pick that chose it notices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import litellm
import pytest
from litellm_stage import Opener, Stage, deployment

AT_ONCE = {"metadata": {"apikeyrouter": {"max_wait": 0}}}
KEYS = ((0, "a1"), (1, "b1"))
PATIENTLY = {"metadata": {"apikeyrouter": {"max_wait": 0.2}}}


def each_minute(amount: int) -> dict[str, Any]:
    """A limit that does not refill while a test runs."""
    return {"limits": [{"of": "requests", "amount": amount, "per": "minute", "window": "rolling"}]}


def another(stage: Stage, amount: int) -> None:
    stage.router.model_list[0]["model_info"]["apikeyrouter"] = each_minute(amount)


def within(stage: Stage, amount: int) -> None:
    stage.router.model_list[0]["model_info"]["apikeyrouter"]["limits"][0]["amount"] = amount


@pytest.mark.parametrize("change", [another, within])
@pytest.mark.parametrize("call", [AT_ONCE, PATIENTLY], ids=["at once", "patiently"])
async def test_less_room_is_seen_by_the_pick_that_chose_it(
    opened: Opener, change: Callable[[Stage, int], None], call: dict[str, Any]
) -> None:
    stage = await opened(models=lambda world, url: [deployment(world, url, "a1", **each_minute(9))])
    await stage.chat()
    change(stage, 1)
    with pytest.raises(litellm.RateLimitError):
        await stage.chat(**call)
    assert stage.engine.get_state_summary().open_leases == 0
    change(stage, 2)
    await stage.chat(**call)
    assert stage.used("a1") == 2


async def test_less_room_is_seen_by_a_retry_that_goes_to_another_key(opened: Opener) -> None:
    stage = await opened(
        models=lambda world, url: [deployment(world, url, key, tier=tier, **each_minute(9)) for tier, key in KEYS],
        num_retries=1,
        retry_after=0,
    )
    await stage.chat(**AT_ONCE)
    stage.world.faults.fail_next(1, key="a1")
    stage.router.model_list[1]["model_info"]["apikeyrouter"] = {**each_minute(0), "tier": 1}
    await stage.chat(**AT_ONCE)
    await stage.quiet()
    assert (len(stage.world.record.all(key="a1")), len(stage.world.record.all(key="b1"))) == (3, 0)


async def test_a_credential_changed_in_place_is_another_key(opened: Opener) -> None:
    stage = await opened(models=lambda world, url: [deployment(world, url, "a1", rpm=600)])
    stage.world.revoke("a1")
    with pytest.raises(litellm.AuthenticationError):
        await stage.chat()
    with pytest.raises(litellm.ServiceUnavailableError, match="a1 is invalid"):
        await stage.chat()
    stage.router.model_list[0]["litellm_params"]["api_key"] = stage.world.secret("b1")
    await stage.chat()
    await stage.quiet()
    assert len(stage.world.record.all(key="b1")) == 1
