"""What a policy may know of a candidate: its key and the fullest of its pools, as the words of `facts`.

Filled only when some policy asks about candidates; what a policy reads is checked when it is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping

from apikeyrouter.core.estimate import capacity
from apikeyrouter.core.key import RANK, State
from apikeyrouter.core.roster import Candidate
from apikeyrouter.core.window import NEVER

FAR_H = 1_000_000.0
"""Hours until exhaustion where none is forecast."""


def key_facts(candidate: Candidate, cost: int | None) -> Mapping[str, object]:
    """The root `key`; `cost` in nano-dollars becomes dollars."""
    key, deployment = candidate.key, candidate.deployment
    return {
        "id": key.id,
        "provider": deployment.provider,
        "model": deployment.model,
        "tier": key.tier,
        "weight": key.weight,
        "state": str(key.shown([max((pool.state for pool in candidate.pools), key=RANK.__getitem__)])),
        "tags": key.tags,
        "metadata": key.metadata,
        "pools": list(key.pools),
        "cost": 0.0 if cost is None else cost / 1e9,
    }


def pool_facts(candidate: Candidate, now: float) -> Mapping[str, object]:
    """The root `pool`: the state and shares of the fullest window, and the hours until it is expected to run out."""
    fullest, state = 0.0, str(State.AVAILABLE)
    hours, risk = FAR_H, 0.0
    for pool in candidate.pools:
        risk = max(risk, pool.risk)
        if pool.soonest is not None and pool.soonest.p50 is not None:
            hours = min(hours, max(0.0, pool.soonest.p50 - now) / 3600.0)
        for w in pool.windows:
            used = 1.0 - w.free(now) / w.cap if w.cap and w.cap < NEVER else 0.0
            if used >= fullest:
                fullest, state = used, capacity(pool, w, now)
    used = min(1.0, max(0.0, fullest))
    return {"state": state, "used": used, "remaining": 1.0 - used, "exhausts_in_h": hours, "risk": risk}
