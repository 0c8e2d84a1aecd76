"""What moves: windows of an organisation and model, keys that die, who is in flight. No HTTP, no provider's words.

All amounts are decided here, at one moment and all or nothing; the world's lock is held by the caller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import sha256

from apikeyrouter.simulator.clock import NS
from apikeyrouter.simulator.record import Counters
from apikeyrouter.simulator.spec import Foreign, Key, LimitGroup, Organisation
from apikeyrouter.simulator.window import NEVER, Bucket, Window

__all__ = ["KeyState", "OrganisationState", "Quota", "Reading", "Refusal", "material_of"]


@dataclass(slots=True, frozen=True)
class Reading:
    """One window as a header shows it; `reset_ns` is the time until it is as good as new, `per_ns` its period."""

    name: str
    counts: str
    limit: int
    capacity: int
    remaining: int
    reset_ns: int
    per_ns: int


@dataclass(slots=True, frozen=True)
class Refusal:
    """Why a request does not fit: the window with the longest wait; `wait_ns` is NEVER when it is too large."""

    reading: Reading
    requested: int
    wait_ns: int


class Quota:
    """The windows of one organisation for one model, or for a family of models that share them."""

    __slots__ = ("_foreign", "foreign_taken", "models", "windows")

    def __init__(self, models: str, windows: Sequence[Window], foreign: Foreign | None, born: int) -> None:
        self.models = models
        self.windows = tuple(windows)
        self.foreign_taken = 0
        self._foreign = _Drain(foreign, [w for w in windows if isinstance(w, Bucket)], born) if foreign else None

    def admit(self, now: int, take: Mapping[str, int], check: Mapping[str, int]) -> Refusal | None:
        """Charge `take` to every window that counts it, if all have room for it and for `check`; else say why not."""
        self._let_others_in(now)
        worst: Refusal | None = None
        for window in self.windows:
            amount = take.get(window.counts, 0) or check.get(window.counts, 0)
            if amount and not window.fits(now, amount):
                worst = _later(worst, Refusal(_reading(window, now), amount, window.wait(now, amount)))
        if worst is None:
            self.charge(now, take)
        return worst

    def charge(self, now: int, take: Mapping[str, int]) -> None:
        """Charge without asking: what is metered as it is produced."""
        for window in self.windows:
            amount = take.get(window.counts, 0)
            if amount:
                window.take(now, amount)

    def charge_failure(self, now: int) -> Mapping[str, int]:
        """A refused request still counts as a request, as far as there is room; what was charged."""
        counted = [window for window in self.windows if window.counts == "requests"]
        if not counted or not all(window.fits(now, 1) for window in counted):
            return {}
        self.charge(now, _ONE_REQUEST)
        return _ONE_REQUEST

    def readings(self, now: int) -> tuple[Reading, ...]:
        self._let_others_in(now)
        return tuple(_reading(window, now) for window in self.windows)

    def _let_others_in(self, now: int) -> None:
        if self._foreign is not None:
            self.foreign_taken += self._foreign.catch_up(now)


_ONE_REQUEST: Mapping[str, int] = {"requests": 1}


def _reading(window: Window, now: int) -> Reading:
    return Reading(
        window.name,
        window.counts,
        window.limit,
        window.capacity,
        window.remaining(now),
        window.reset(now),
        window.per_ns,
    )


def _later(a: Refusal | None, b: Refusal) -> Refusal:
    if a is None or b.wait_ns == NEVER:
        return b
    return a if a.wait_ns == NEVER or a.wait_ns >= b.wait_ns else b


class _Drain:
    """A foreign client, evaluated only when somebody looks: each of its arrivals at its own moment, in order."""

    __slots__ = ("_buckets", "_every", "_next", "_shares")

    def __init__(self, foreign: Foreign, buckets: Sequence[Bucket], born: int) -> None:
        self._every = max(1, round(foreign.every_s * NS))
        self._next = born + self._every
        self._buckets = tuple(buckets)
        millionths = round(foreign.share * 1_000_000)
        self._shares = tuple(bucket.limit * self._every * millionths // 1_000_000 for bucket in buckets)

    def catch_up(self, now: int) -> int:
        """Let every arrival until `now` take its share or leave empty-handed; how many took."""
        took = 0
        while self._next <= now:
            took += self._arrive(self._next)
            self._next += self._every
        return took

    def _arrive(self, at: int) -> bool:
        pairs = tuple(zip(self._buckets, self._shares, strict=True))
        if not all(bucket.holds_fraction(at, share) for bucket, share in pairs):
            return False
        for bucket, share in pairs:
            bucket.take_fraction(at, share)
        return True


class OrganisationState:
    """A live organisation: its quotas come into being with the first request for a model."""

    __slots__ = ("born", "counters", "quotas", "spec", "status")

    def __init__(self, spec: Organisation) -> None:
        self.spec = spec
        self.status = spec.status
        self.counters = Counters()
        self.quotas: dict[str, Quota] = {}
        self.born = 0

    @property
    def id(self) -> str:
        return self.spec.id

    def may_use(self, model: str) -> bool:
        return _matches(model, self.spec.models)

    def quota(self, model: str) -> Quota:
        """The quota that a model is charged to."""
        found = self.quotas.get(model)
        if found is None:
            found = self.quotas[model] = self._build(model)
        return found

    def group(self, model: str) -> LimitGroup:
        """The first group that names the model; one without limits when none does."""
        return next((g for g in self.spec.all_groups() if _matches(model, g.models)), LimitGroup())

    def _build(self, model: str) -> Quota:
        group = self.group(model)
        family = ",".join(group.models) if group.shared else model
        if family in self.quotas:
            return self.quotas[family]
        foreign = self.spec.foreign if self.spec.foreign and _matches(model, self.spec.foreign.models) else None
        quota = Quota(family, [limit.build(self.born) for limit in group.limits], foreign, self.born)
        self.quotas[family] = quota
        return quota

    def __repr__(self) -> str:
        seen = f"{self.counters.admitted} admitted, {self.counters.throttled} throttled"
        return f"<OrganisationState {self.id} {self.status} {seen}>"


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(pattern == "*" or fnmatchcase(name, pattern) for pattern in patterns)


@dataclass(slots=True, repr=False)
class KeyState:
    """A live key. The material is made up by the simulator, yet kept out of every print, log and record."""

    id: str
    material: str
    organisation: OrganisationState
    status: str = "alive"
    counters: Counters = field(default_factory=Counters)

    @classmethod
    def build(cls, given: Key | str, organisation: OrganisationState) -> KeyState:
        key = Key(id=given) if isinstance(given, str) else given
        return cls(key.id, key.material or material_of(key.id, organisation.spec.dialect), organisation, key.status)

    def __repr__(self) -> str:
        return f"<KeyState {self.id} of {self.organisation.id} {self.status}>"


_PREFIX = {"openai": "sk-sim-", "anthropic": "sk-ant-sim-", "gemini": "AIzaSim-", "plain": "sim-"}


def material_of(key_id: str, dialect: str) -> str:
    """The material of a key that was given none: the same in every run, so that a configuration can name it."""
    return f"{_PREFIX.get(dialect, 'sim-')}{key_id}-{sha256(key_id.encode()).hexdigest()[:16]}"
