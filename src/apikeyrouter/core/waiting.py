"""Who is served next when there is not enough for all.

Tickets of one group ask the same keys; only they stand in each other's way. Priority classes come first. Inside a
class, tenants share by virtual token counters (Sheng et al., OSDI 2024): the waiting tenant that has been served least,
by tokens over weight, goes next. A tenant that comes back from idleness may be at most CREDIT usual requests behind the
least served one that waited: that much of the share it left to others is made up for, so that a quiet tenant hardly
feels a loud one, and no more can be hoarded. Inside a tenant the earliest deadline goes first. Every TURN-th grant is
offered out of this order, in turns to a lower class and to whoever has waited longest: whatever keeps coming, the n-th
oldest ticket is offered one of the next 2 * TURN * n grants. What fits is the ledger's answer.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterator, Set
from heapq import heapify, heappop, heappush
from typing import Final

MOST_TENANTS: Final = 10_000
"""Counters remembered; beyond that, those of tenants without waiters are forgotten first."""
TURN: Final = 8
CREDIT: Final = 8
USUAL_GAIN: Final = 0.05

_Entry = tuple[float, int, "Ticket"]
_Queues = dict[tuple[str, object], list[_Entry]]


class Ticket:
    """One place in the line. `tokens` is what the request will take, the charge of its tenant's counter."""

    __slots__ = ("deadline", "gone", "group", "number", "priority", "tenant", "tokens")

    def __init__(self, tenant: str, *, priority: int = 0, deadline: float, tokens: int, group: object = None) -> None:
        self.tenant = tenant
        self.priority = priority
        self.deadline = deadline
        self.tokens = tokens
        self.group = group
        self.number = 0
        self.gone = False

    @property
    def charge(self) -> int:
        return max(1, self.tokens)


class _Sum:
    """Tokens and tickets that wait, of a group or of a tenant in it."""

    __slots__ = ("count", "tokens")

    def __init__(self) -> None:
        self.tokens = self.count = 0

    def add(self, tokens: int, count: int) -> None:
        self.tokens += tokens
        self.count += count


class Line:
    """Tickets in the order they should be served. `usual` is the mean charge of what was served lately."""

    __slots__ = (
        "_ages", "_classes", "_groups", "_level", "_numbers", "_waiting", "counters", "served", "size", "usual",
        "weights",
    )  # fmt: skip

    def __init__(self) -> None:
        self._ages: deque[Ticket] = deque()
        self._level = 0.0
        self._classes: dict[int, _Queues] = {}
        self._groups: dict[object, dict[str, _Sum]] = {}
        self._waiting: dict[str, int] = {}
        self._numbers = 0
        self.counters: dict[str, float] = {}
        self.weights: dict[str, float] = {}
        self.size = 0
        self.served = 0
        self.usual = 0.0

    def __len__(self) -> int:
        return self.size

    def has(self, group: object) -> bool:
        """Whether anybody of a group waits."""
        return group in self._groups

    def add(self, ticket: Ticket) -> None:
        """Queue a ticket. A tenant without waiters is lifted to what its credit allows."""
        self._numbers += 1
        ticket.number = self._numbers
        if ticket.tenant not in self._waiting:
            behind = self._level - CREDIT * self.usual / self._weight(ticket.tenant)
            self.counters[ticket.tenant] = max(self.counters.get(ticket.tenant, 0.0), behind)
            self._forget()
        queues = self._classes.setdefault(ticket.priority, {})
        insort(queues.setdefault((ticket.tenant, ticket.group), []), (ticket.deadline, ticket.number, ticket))
        self._ages.append(ticket)
        self._count(ticket, 1)

    def remove(self, ticket: Ticket) -> None:
        """Take a ticket out, served or not; nothing happens when it is out already."""
        if ticket.gone:
            return
        ticket.gone = True
        queues, name = self._classes[ticket.priority], (ticket.tenant, ticket.group)
        queues[name].remove((ticket.deadline, ticket.number, ticket))
        if not queues[name]:
            del queues[name]
        if not queues:
            del self._classes[ticket.priority]
        self._count(ticket, -1)

    def _count(self, ticket: Ticket, step: int) -> None:
        self.size += step
        tenants = self._groups.setdefault(ticket.group, {})
        own = tenants.setdefault(ticket.tenant, _Sum())
        own.add(step * ticket.tokens, step)
        if not own.count:
            del tenants[ticket.tenant]
        if not tenants:
            del self._groups[ticket.group]
        left = self._waiting.get(ticket.tenant, 0) + step
        if left:
            self._waiting[ticket.tenant] = left
        else:
            del self._waiting[ticket.tenant]

    def serve(self, ticket: Ticket) -> None:
        """Take a ticket out and charge its tenant."""
        self.remove(ticket)
        self.served += 1
        self.usual += (USUAL_GAIN if self.served > 1 else 1.0) * (ticket.charge - self.usual)
        self.counters[ticket.tenant] = self.counters.get(ticket.tenant, 0.0) + self._cost(ticket)

    def ahead(self, ticket: Ticket) -> tuple[int, int]:
        """(tokens, requests) that its group is granted before a ticket not yet in line is served, its own included.

        All of them in the worst case; under fair shares not more than its tenant's own for each tenant that waits.
        """
        tenants = self._groups.get(ticket.group, {})
        own = tenants.get(ticket.tenant)
        tokens, count = ticket.tokens + (own.tokens if own else 0), 1 + (own.count if own else 0)
        sharing = len(tenants) + (own is None)
        return (
            min(ticket.tokens + sum(t.tokens for t in tenants.values()), sharing * tokens),
            min(1 + sum(t.count for t in tenants.values()), sharing * count),
        )

    def order(self, full: Set[object] = frozenset()) -> Iterator[Ticket]:
        """Every ticket in the order of service, as if each were served in turn.

        Serving or removing the ticket just given is allowed; groups that the caller adds to `full` are left out.
        """
        self._rise()
        ranks, oldest = self._ranks(), self._oldest()
        if oldest is not None:
            yield oldest
        for priority in ranks:
            for ticket in self._fair(self._classes.get(priority, {}), full):
                if ticket is not oldest:
                    yield ticket

    def _ranks(self) -> list[int]:
        """The classes, highest first; at every second turn a lower one goes before them."""
        ranks = sorted(self._classes, reverse=True)
        turns, rest = divmod(self.served, TURN)
        if rest == TURN - 1 and turns % 2 and len(ranks) > 1:
            ranks.insert(0, ranks.pop(1 + turns // 2 % (len(ranks) - 1)))
        return ranks

    def _oldest(self) -> Ticket | None:
        """Whoever has waited longest, at every other turn."""
        ages = self._ages
        while ages and ages[0].gone:
            ages.popleft()
        if len(ages) > 2 * self.size + TURN:
            self._ages = ages = deque(ticket for ticket in ages if not ticket.gone)
        turns, rest = divmod(self.served, TURN)
        return ages[0] if ages and rest == TURN - 1 and not turns % 2 else None

    def _rise(self) -> None:
        """The counter of the least served tenant that waits; it never falls, or newcomers would undercut each other."""
        if self._waiting:
            self._level = max(self._level, min(self.counters.get(tenant, 0.0) for tenant in self._waiting))

    def _fair(self, queues: _Queues, full: Set[object]) -> Iterator[Ticket]:
        counters: dict[str, float] = {}
        looked: dict[tuple[str, object], int] = {}
        turns = [(self.counters.get(name[0], 0.0), queue[0][1], name) for name, queue in queues.items()]
        heapify(turns)
        while turns:
            counter, number, name = heappop(turns)
            tenant, group = name
            if group in full:
                continue
            if counters.get(tenant, counter) > counter:
                heappush(turns, (counters[tenant], number, name))
                continue
            ticket = queues[name][looked.get(name, 0)][2]
            yield ticket
            counters[tenant] = counter + self._cost(ticket)
            at = looked[name] = looked.get(name, 0) + (not ticket.gone)
            queue = queues.get(name, ())
            if at < len(queue):
                heappush(turns, (counters[tenant], queue[at][1], name))

    def _weight(self, tenant: str) -> float:
        return self.weights.get(tenant, 1.0)

    def _cost(self, ticket: Ticket) -> float:
        return ticket.charge / self._weight(ticket.tenant)

    def _forget(self) -> None:
        if len(self.counters) > MOST_TENANTS:
            self.counters = {t: c for t, c in self.counters.items() if t in self._waiting}
