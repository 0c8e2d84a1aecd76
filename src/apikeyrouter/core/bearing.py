"""What a policy may know of a candidate: its key and the fullest of its pools, as the words of `facts`.

Filled only when some policy asks about candidates; what a policy reads is checked when it is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from apikeyrouter.core.estimate import capacity
from apikeyrouter.core.key import RANK, State
from apikeyrouter.core.roster import Candidate
from apikeyrouter.core.window import NEVER

FAR_H = 1_000_000.0
"""Hours until exhaustion where none is forecast."""
_WORD: Final = re.compile(r"\b(key|pool)\.([a-z_]+)")
_EXHAUSTS: Final = ("pool", "exhausts_in_h")


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
    fullest, state, risk = 0.0, str(State.AVAILABLE), 0.0
    for pool in candidate.pools:
        if now >= pool.ticks_at:
            pool.look_ahead(now)
        risk = max(risk, pool.risk)
        for w in pool.windows:
            used = 1.0 - w.free(now) / w.cap if w.cap and w.cap < NEVER else 0.0
            if used >= fullest:
                fullest, state = used, capacity(pool, w, now)
    used = min(1.0, max(0.0, fullest))
    return {"state": state, "used": used, "remaining": 1.0 - used, "risk": risk, **_end(candidate, now)}


def _end(candidate: Candidate, now: float) -> Mapping[str, float]:
    """Of the window that is expected to run out first: in how many hours, when it returns, how sure that is."""
    ends = [(f.p50, f) for pool in candidate.pools if (f := pool.soonest) is not None and f.p50 is not None]
    if not ends:
        return {"exhausts_in_h": FAR_H, "resets_in_h": FAR_H, "confidence": 0.0}
    at, f = min(ends, key=lambda end: end[0])
    back = FAR_H if f.reset_at is None else max(0.0, f.reset_at - now) / 3600.0
    return {"exhausts_in_h": max(0.0, at - now) / 3600.0, "resets_in_h": back, "confidence": f.confidence}


def told(condition: str, key: Mapping[str, object], pool: Mapping[str, object]) -> str:
    """The numbers that a condition asked about, as they were."""
    roots = {"key": key, "pool": pool}
    asked = dict.fromkeys(_WORD.findall(condition))
    if _EXHAUSTS in asked:
        asked["pool", "resets_in_h"] = None
    values = [(f"{root}.{name}", roots[root].get(name)) for root, name in asked]
    shown = [f"{word} is {_number(value)}" for word, value in values if isinstance(value, float)]
    return f" ({', '.join(shown)})" if shown else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
