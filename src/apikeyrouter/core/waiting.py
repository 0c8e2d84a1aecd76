"""Who is served next when there is not enough for all.

Priority classes first. Inside a class, tenants share by virtual token counters (Sheng et al., OSDI 2024): the waiting
tenant that has been served least, by tokens over weight, goes next, and a tenant that comes back from idleness starts
level with the least served one, so that it can neither hoard credit nor be starved. Inside a tenant the earliest
deadline goes first. The order is all that lives here; what fits is the ledger's answer.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Final

MOST_TENANTS: Final = 10_000
"""Counters remembered; beyond that, those of tenants without waiters are forgotten first."""


class Ticket:
    """One place in the line. `tokens` is what the request will take, the charge of its tenant's counter."""

    __slots__ = ("deadline", "gone", "number", "priority", "tenant", "tokens")

    def __init__(self, tenant: str, *, priority: int = 0, deadline: float, tokens: int) -> None:
        self.tenant = tenant
        self.priority = priority
        self.deadline = deadline
        self.tokens = tokens
        self.number = 0
        self.gone = False


class Line:
    """Tickets in the order they should be served."""

    __slots__ = ("_classes", "_numbers", "counters", "size", "tokens", "weights")

    def __init__(self) -> None:
        self._classes: dict[int, dict[str, list[tuple[float, int, Ticket]]]] = {}
        self._numbers = 0
        self.counters: dict[str, float] = {}
        self.weights: dict[str, float] = {}
        self.size = 0
        self.tokens = 0

    def __len__(self) -> int:
        return self.size

    def add(self, ticket: Ticket) -> None:
        """Queue a ticket. A tenant without waiters is lifted to the least served one that has some."""
        self._numbers += 1
        ticket.number = self._numbers
        if not self._waits(ticket.tenant):
            self.counters[ticket.tenant] = max(self.counters.get(ticket.tenant, 0.0), self._least())
            self._forget()
        queue = self._classes.setdefault(ticket.priority, {}).setdefault(ticket.tenant, [])
        insort(queue, (ticket.deadline, ticket.number, ticket))
        self.size += 1
        self.tokens += ticket.tokens

    def remove(self, ticket: Ticket) -> None:
        """Take a ticket out, served or not; nothing happens when it is out already."""
        if ticket.gone:
            return
        ticket.gone = True
        tenants = self._classes[ticket.priority]
        queue = tenants[ticket.tenant]
        queue.remove((ticket.deadline, ticket.number, ticket))
        if not queue:
            del tenants[ticket.tenant]
        if not tenants:
            del self._classes[ticket.priority]
        self.size -= 1
        self.tokens -= ticket.tokens

    def serve(self, ticket: Ticket) -> None:
        """Take a ticket out and charge its tenant."""
        self.remove(ticket)
        weight = self.weights.get(ticket.tenant, 1.0)
        self.counters[ticket.tenant] = self.counters.get(ticket.tenant, 0.0) + max(1, ticket.tokens) / weight

    def order(self) -> Iterator[Ticket]:
        """Every ticket in the order of service, as if each were served in turn. Serving while iterating is allowed."""
        for priority in sorted(self._classes, reverse=True):
            yield from self._fair(self._classes.get(priority, {}))

    def _fair(self, tenants: dict[str, list[tuple[float, int, Ticket]]]) -> Iterator[Ticket]:
        queues = {tenant: [entry[2] for entry in queue] for tenant, queue in tenants.items()}
        turns = [(self.counters.get(tenant, 0.0), queue[0].number, tenant, 0) for tenant, queue in queues.items()]
        heapify(turns)
        while turns:
            counter, _, tenant, at = heappop(turns)
            ticket = queues[tenant][at]
            if not ticket.gone:
                yield ticket
            if at + 1 < len(queues[tenant]):
                counter += max(1, ticket.tokens) / self.weights.get(tenant, 1.0)
                heappush(turns, (counter, queues[tenant][at + 1].number, tenant, at + 1))

    def _waits(self, tenant: str) -> bool:
        return any(tenant in tenants for tenants in self._classes.values())

    def _least(self) -> float:
        waiting = (self.counters.get(t, 0.0) for tenants in self._classes.values() for t in tenants)
        return min(waiting, default=max(self.counters.values(), default=0.0))

    def _forget(self) -> None:
        if len(self.counters) > MOST_TENANTS:
            kept = {t for tenants in self._classes.values() for t in tenants}
            self.counters = {t: c for t, c in self.counters.items() if t in kept}
