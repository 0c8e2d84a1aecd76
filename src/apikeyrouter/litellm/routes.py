"""What the Proxy shows of the engine: /apikeyrouter/state and /apikeyrouter/decisions/{id}, behind LiteLLM's own keys.

LiteLLM's authentication decides who asks; state names every key and budget, so only an administrator is answered.
FastAPI is LiteLLM's: it is taken from the server that is already running.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from types import ModuleType
from typing import Any

from apikeyrouter.core.decision import Decision
from apikeyrouter.core.explain import rejections, scored
from apikeyrouter.errors import DecisionNotFoundError
from apikeyrouter.facade import ApiKeyRouter

PREFIX = "/apikeyrouter"
ADMIN = "proxy_admin"


def mount(server: ModuleType, engine: Callable[[], ApiKeyRouter]) -> None:
    """Add the routes to a running LiteLLM Proxy, at most once."""
    app: Any = server.app  # type: ignore[attr-defined]
    if any(getattr(route, "path", "").startswith(PREFIX) for route in app.router.routes):
        return
    from litellm.proxy.auth.user_api_key_auth import user_api_key_auth

    administrator: Any = server.Depends(user_api_key_auth)  # type: ignore[attr-defined]
    refusal: Any = server.HTTPException  # type: ignore[attr-defined]

    async def state(user: Any = administrator) -> Any:
        _admit(user, refusal)
        return plain(engine().get_state_summary())

    async def decision(decision_id: str, user: Any = administrator) -> Any:
        _admit(user, refusal)
        try:
            return explained(engine().explain(decision_id))
        except DecisionNotFoundError as error:
            raise refusal(status_code=404, detail=error.message) from error

    app.add_api_route(f"{PREFIX}/state", state, methods=["GET"], tags=["apikeyrouter"])
    app.add_api_route(f"{PREFIX}/decisions/{{decision_id}}", decision, methods=["GET"], tags=["apikeyrouter"])


def _admit(user: Any, refusal: Any) -> None:
    role = getattr(user, "user_role", None)
    if getattr(role, "value", role) != ADMIN:
        raise refusal(status_code=403, detail="Only an administrator of this Proxy sees the state of its keys.")


def explained(decision: Decision) -> dict[str, Any]:
    """A decision as JSON: the sentence a person reads, and the numbers behind it."""
    return {
        "id": decision.id,
        "text": str(decision),
        "key": decision.key,
        "provider": decision.provider,
        "model": decision.model,
        "at": decision.at,
        "waited_s": decision.waited_s,
        "outcome": decision.outcome,
        "need": list(decision.need),
        "candidates": plain(scored(decision)),
        "rejected": plain(rejections(decision)),
        "retry_after": decision.retry_after,
    }


def plain(value: Any) -> Any:
    """JSON's own types: dataclasses become objects, money text, infinity null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return value if abs(value) != float("inf") else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)
