"""What a policy may ask about: the words of `request`, `key`, `pool`, `budget` and `time`, and how they are filled.

A policy is written by one person and read by another years later, so its vocabulary is closed: a word that is not here
is refused when the policy is loaded, not false when it is needed. Tags are open, and an absent tag is the empty string,
so that `key.tags.region != 'us'` means what it says for a key without a region.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from apikeyrouter.core.escrow import Node
from apikeyrouter.core.model import NO_TAGS, Request
from apikeyrouter.core.period import zone_of

Facts = Mapping[str, Mapping[str, object]]
"""Values by root and field. All five roots are there; what is not known at this point of the decision is empty."""

FIELDS: Final[Mapping[str, Mapping[str, object]]] = MappingProxyType(
    {
        "request": {
            "model": "gpt-4o",
            "route": "fast",
            "provider": "",
            "operation": "chat",
            "tenant": "acme",
            "user": "ada",
            "session": "",
            "priority": 0,
            "tags": {},
            "needs": ["tools"],
            "input_tokens": 100,
            "max_output_tokens": 200,
        },
        "key": {
            "id": "key-a",
            "provider": "maker",
            "model": "gpt-4o",
            "tier": 1,
            "weight": 1.0,
            "state": "available",
            "tags": {},
            "metadata": {},
            "pools": ["pool-a"],
            "cost": 0.01,
        },
        "pool": {
            "state": "abundant",
            "used": 0.5,
            "remaining": 0.5,
            "risk": 0.1,
            "exhausts_in_h": 100.0,
            "resets_in_h": 12.0,
            "confidence": 0.9,
        },
        "budget": {"used": 0.5, "remaining": 10.0, "limited": True},
        "time": {
            "hour": 12,
            "minute": 30,
            "weekday": 1,
            "day": 23,
            "month": 11,
            "year": 2026,
            "date": "2026-11-23",
        },
    }
)
"""Every word with a typical value, from which an expression's types are checked.

`route` is the name asked for (an alias), `model` the provider's; `cost` dollars this request would hold there; `used`
and `remaining` of a pool are shares of its fullest window, of a budget the share spent or held of the fullest and the
dollars left of the tightest; `risk` is the probability that a pool runs out before its reset, `exhausts_in_h` hours
until it is as likely as not to have, `resets_in_h` until it is back, `confidence` how well that is known (0 to 1);
`weekday` 1 is Monday.
"""

OPEN: Final = frozenset({"request.tags", "key.tags", "key.metadata"})
"""Fields whose own fields anybody may name."""
VOLATILE: Final = frozenset({"pool", "budget", "key.cost", "request.input_tokens", "request.max_output_tokens"})
"""What changes with nearly every request, so that remembering an answer for it would be in vain."""
ALIKE: Final = frozenset({"key.provider", "key.model", "key.tier", "key.tags", "key.cost"})
"""Fields that keys of one stratum share (see `roster`): a rule that reads no others is asked once for all of them."""


def request_facts(
    request: Request, *, model: str = "", input_tokens: int = 0, output_tokens: int = 0
) -> dict[str, object]:
    """The root `request`. `model` is the provider's name where an alias was asked for."""
    return {
        "model": model or request.model,
        "route": request.model,
        "provider": request.provider or "",
        "operation": request.operation,
        "tenant": request.tenant or "",
        "user": request.user or "",
        "session": request.session or "",
        "priority": request.priority,
        "tags": request.tags,
        "needs": request.needs,
        "input_tokens": input_tokens,
        "max_output_tokens": output_tokens,
    }


def budget_facts(nodes: Iterable[Node]) -> dict[str, object]:
    """The root `budget`: the fullest and the tightest of the budgets a request falls under, hard and soft alike."""
    used, remaining, limited = 0.0, float("inf"), False
    for node in nodes:
        taken = node.spent + node.held
        used = max(used, taken / node.limit if node.limit else 1.0)
        remaining = min(remaining, (node.limit - taken) / 1e9)
        limited = limited or node.hard
    return {"used": used, "remaining": remaining, "limited": limited}


def time_facts(now: float, zone: str = "UTC") -> Mapping[str, object]:
    """The root `time`, to the minute, in a zone."""
    return _minute_facts(int(now // 60), zone)


@lru_cache(maxsize=64)
def _minute_facts(minute: int, zone: str) -> Mapping[str, object]:
    at = datetime.fromtimestamp(minute * 60, UTC).astimezone(zone_of(zone))
    return MappingProxyType(
        {
            "hour": at.hour,
            "minute": at.minute,
            "weekday": at.isoweekday(),
            "day": at.day,
            "month": at.month,
            "year": at.year,
            "date": at.date().isoformat(),
        }
    )


Get = Callable[[Facts], object]


def getter(path: tuple[str, ...]) -> Get:
    """What takes the value at a path such as ("key", "tags", "region") out of facts that have every root.

    An absent tag is "", anything else absent None.
    """
    root, name = path[0], path[1]
    if len(path) == 2:
        return lambda facts: facts[root].get(name)
    if name == "tags":
        tag = path[2]
        return lambda facts: _table(facts[root].get("tags")).get(tag, "")
    return lambda facts: _deep(facts[root].get(name), path[2:])


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict | Mapping) else NO_TAGS


def _deep(value: object, names: tuple[str, ...]) -> object:
    for name in names:
        value = _table(value).get(name)
    return value
