"""Counts a run by listening to the router's events, as a dashboard or a metric would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from apikeyrouter.events import BreakerChanged, BudgetCrossed, Failed, Settled, StateChanged
from apikeyrouter.facade import ApiKeyRouter

MOST_NOTES = 200


class Tally:
    """Sums by key, and the changes of state in words. `cost` in nano-dollars."""

    def __init__(self, router: ApiKeyRouter, now: Callable[[], float]) -> None:
        self.requests: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self.throttled: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.cost: Counter[str] = Counter()
        self.lowest: dict[str, float] = {}
        self.input_tokens = self.output_tokens = 0
        self.notes: list[str] = []
        self._started = now()
        self._listen(router)

    def _listen(self, router: ApiKeyRouter) -> None:
        router.subscribe(Settled, self._settled)
        router.subscribe(Failed, self._failed)
        router.subscribe(StateChanged, self._moved)
        router.subscribe(BreakerChanged, self._broke)
        router.subscribe(BudgetCrossed, self._crossed)

    def _settled(self, event: object) -> None:
        assert isinstance(event, Settled)
        self.requests[event.key_id] += 1
        self.tokens[event.key_id] += event.input_tokens + event.output_tokens
        self.cost[event.key_id] += event.cost or 0
        self.input_tokens += event.input_tokens
        self.output_tokens += event.output_tokens

    def _failed(self, event: object) -> None:
        assert isinstance(event, Failed)
        counter = self.throttled if event.status == 429 else self.failed
        counter[event.key_id] += 1

    def _moved(self, event: object) -> None:
        assert isinstance(event, StateChanged)
        if event.before is not None:
            why = f" ({event.context})" if event.context else ""
            self._note(event.at, f"{event.entity} {event.id}: {event.before} -> {event.after}{why}")

    def _broke(self, event: object) -> None:
        assert isinstance(event, BreakerChanged)
        self._note(event.at, f"breaker {event.provider_id}/{event.model}: {event.state.replace('_', ' ')}")

    def _crossed(self, event: object) -> None:
        assert isinstance(event, BudgetCrossed)
        self._note(event.at, f"budget {event.budget}: {event.threshold:.0%} spent")

    def _note(self, at: float, text: str) -> None:
        if len(self.notes) < MOST_NOTES:
            self.notes.append(f"{at - self._started:5.1f} s  {text}")

    def look(self, shares: dict[str, float]) -> None:
        """Remember the least that each pool ever had left."""
        for pool, share in shares.items():
            self.lowest[pool] = min(share, self.lowest.get(pool, 1.0))
