"""Key and pool states, and the one table that moves them.

A key's own state is only about its authority to speak: disabled by hand, invalid after a refused authentication. What
its quota does (throttled, exhausted, recovering) belongs to the POOL it draws from, because several keys share one.
Both walk the same table; nothing else in the project changes a state, and every move leaves a `Transition`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from apikeyrouter.core.model import NO_TAGS, Tags
from apikeyrouter.errors import InvalidStateTransitionError


class State(StrEnum):
    """What a key is good for now: `disabled` and `invalid` are its own, the others come from its pools and account."""

    AVAILABLE = "available"
    THROTTLED = "throttled"
    EXHAUSTED = "exhausted"
    RECOVERING = "recovering"
    DISABLED = "disabled"
    INVALID = "invalid"


class Trigger(StrEnum):
    """Why a state changes; stored with every transition."""

    REGISTRATION = "registration"
    RATE_LIMIT = "rate_limit"
    COOLDOWN_OVER = "cooldown_over"
    SUPERSEDED = "superseded"
    QUOTA_EXHAUSTED = "quota_exhausted"
    RESET_NEAR = "reset_near"
    RESET = "reset"
    DISABLED_BY_HAND = "disabled_by_hand"
    ENABLED_BY_HAND = "enabled_by_hand"
    AUTHENTICATION_FAILED = "authentication_failed"
    ROTATION = "rotation"


MOVES: Final[Mapping[tuple[State | None, Trigger], State]] = MappingProxyType(
    {
        (None, Trigger.REGISTRATION): State.AVAILABLE,
        (State.AVAILABLE, Trigger.RATE_LIMIT): State.THROTTLED,
        (State.THROTTLED, Trigger.COOLDOWN_OVER): State.AVAILABLE,
        # A worse signal while throttled: the cooldown is superseded first, so that the audit shows both moves.
        (State.THROTTLED, Trigger.SUPERSEDED): State.AVAILABLE,
        (State.AVAILABLE, Trigger.QUOTA_EXHAUSTED): State.EXHAUSTED,
        (State.EXHAUSTED, Trigger.RESET_NEAR): State.RECOVERING,
        (State.RECOVERING, Trigger.RESET): State.AVAILABLE,
        (State.RECOVERING, Trigger.QUOTA_EXHAUSTED): State.EXHAUSTED,
        (State.DISABLED, Trigger.ENABLED_BY_HAND): State.AVAILABLE,
        (State.INVALID, Trigger.ROTATION): State.AVAILABLE,
        **{(state, Trigger.DISABLED_BY_HAND): State.DISABLED for state in State},
        **{(state, Trigger.AUTHENTICATION_FAILED): State.INVALID for state in State},
        **{(state, Trigger.ROTATION): state for state in State if state is not State.INVALID},
    }
)

RANK: Final[Mapping[State, int]] = MappingProxyType(
    {State.AVAILABLE: 0, State.RECOVERING: 1, State.THROTTLED: 2, State.EXHAUSTED: 3}
)
"""Best first: a key shows the best state among its pools."""


REFUSED_BEFORE: Final = "enabled by hand, but its material was refused before: rotate the key"


@dataclass(frozen=True, slots=True)
class Transition:
    """One audited move. `at` is epoch seconds; `actor` who asked, or "router"."""

    entity: str
    id: str
    before: State | None
    after: State
    at: float
    trigger: Trigger
    context: str = ""
    actor: str = "router"


def after(entity: str, name: str, state: State | None, trigger: Trigger) -> State:
    """The state that follows; InvalidStateTransitionError when the table has no such move."""
    found = MOVES.get((state, trigger))
    if found is None:
        allowed = sorted(t for s, t in MOVES if s == state)
        raise InvalidStateTransitionError(
            f"{entity} {name} is {state}; '{trigger}' does not apply there, only {', '.join(allowed)} do.",
            details={"entity": entity, "id": name, "state": str(state), "trigger": str(trigger)},
        )
    return found


class Key:
    """A credential's record, without its material.

    `models` are globs over the provider's model names, empty for any. `tags` are strings that policies read; `metadata`
    is the owner's free JSON. `version` counts the materials the key has had; `fingerprint` names the present one.
    `refused`: a provider did not accept the present one, which enabling a disabled key does not mend.
    """

    __slots__ = (
        "cooldown_until",
        "created_at",
        "failure_count",
        "fingerprint",
        "id",
        "label",
        "last_used_at",
        "metadata",
        "models",
        "pools",
        "provider",
        "quality",
        "refused",
        "removed",
        "served",
        "state",
        "state_updated_at",
        "tags",
        "tenant",
        "tier",
        "usage_count",
        "version",
        "weight",
    )

    def __init__(
        self,
        name: str,
        provider: str,
        *,
        now: float,
        pools: Iterable[str] = (),
        models: Iterable[str] = (),
        tags: Tags = NO_TAGS,
        metadata: Mapping[str, object] | None = None,
        tier: int = 0,
        weight: float = 1.0,
        label: str = "",
        fingerprint: str = "",
    ) -> None:
        self.id = name
        self.provider = provider
        self.state = after("key", name, None, Trigger.REGISTRATION)
        self.state_updated_at = self.created_at = now
        self.pools = tuple(pools)
        self.models = tuple(models)
        self.tags = MappingProxyType(dict(tags))
        self.tenant = self.tags.get("tenant")
        self.metadata = MappingProxyType(dict(metadata or {}))
        self.tier = tier
        self.weight = weight
        self.label = label
        self.fingerprint = fingerprint
        self.version = 1
        self.last_used_at: float | None = None
        self.cooldown_until: float | None = None
        self.usage_count = 0
        self.failure_count = 0
        self.served = 0.0
        self.quality = 0.5
        self.refused = False
        self.removed = False

    @property
    def usable(self) -> bool:
        return self.state is State.AVAILABLE and not self.removed

    @property
    def registered(self) -> Transition:
        """The first fact about a key."""
        return Transition("key", self.id, None, State.AVAILABLE, self.created_at, Trigger.REGISTRATION, actor="user")

    def apply(self, trigger: Trigger, now: float, *, context: str = "", actor: str = "router") -> Transition:
        """Move along the table; the returned fact is for the audit. Raises InvalidStateTransitionError.

        A refused key that is enabled is invalid again: only another material ends that.
        """
        if trigger is Trigger.ENABLED_BY_HAND and self.refused and self.state is State.DISABLED:
            trigger = Trigger.AUTHENTICATION_FAILED
            context = f"{REFUSED_BEFORE}; {context}" if context else REFUSED_BEFORE
        before, self.state = self.state, after("key", self.id, self.state, trigger)
        if trigger in (Trigger.AUTHENTICATION_FAILED, Trigger.ROTATION):
            self.refused = trigger is Trigger.AUTHENTICATION_FAILED
        self.state_updated_at = now
        return Transition("key", self.id, before, self.state, now, trigger, context, actor)

    def shown(self, pools: Iterable[State]) -> State:
        """What a person sees: the key's own trouble, else the best of its pools."""
        if self.state is not State.AVAILABLE:
            return self.state
        return min(pools, key=RANK.__getitem__, default=State.AVAILABLE)

    def __repr__(self) -> str:
        return f"<Key {self.id} {self.provider} {self.state} v{self.version}>"
