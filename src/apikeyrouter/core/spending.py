"""What was spent so far, told by key, model, provider, tenant, route or any tag: an aggregate, not a log.

One row for each combination that occurred, so that any grouping can be asked for afterwards and a settlement costs one
dictionary look-up. Tags come from callers: of too many combinations the later ones are counted without their tags, and
at last all together, so that no amount is lost and memory is bounded. Limits on spend are `budget`, records are the
audit's.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from apikeyrouter.core.ledger import Lease
from apikeyrouter.core.model import Usage, dollars
from apikeyrouter.core.quote import Reconciliation
from apikeyrouter.errors import InvalidRequestError

MOST: Final = 10_000
"""Combinations counted apart with their tags; as many again without."""
GROUPS: Final = ("key", "provider", "model", "route", "tenant")
_OTHERS: Final = ("", "", "", "", "", (("", ""),))


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRow:
    """What one group cost. `group` is "" for requests that have no such name or tag.

    `cost` are dollars billed, or held where the bill is unknown; `estimated` what was held for the same requests;
    `unpriced` requests whose price nobody knows are not in either.
    """

    group: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost: Decimal
    estimated: Decimal
    unpriced: int


class Spending:
    """Sums by combination, and how holds compared with bills. Not locked: its owner's one lock covers it."""

    __slots__ = ("_rows", "most", "reconciliation")

    def __init__(self, most: int = MOST) -> None:
        self._rows: dict[tuple[Hashable, ...], list[int]] = {}
        self.most = most
        self.reconciliation = Reconciliation()

    def record(self, lease: Lease, usage: Usage | None, cost: int | None) -> None:
        """Take in an attempt that may have been billed; `cost` in nano-dollars, None for what was held."""
        decision, deployment = lease.decision, lease.candidate.deployment
        request = decision.request
        route = request.model if decision.lowered is None else decision.lowered.asked
        tags = tuple(sorted(request.tags.items())) if request.tags else ()
        at: tuple[Hashable, ...] = (
            lease.candidate.key.id,
            deployment.provider,
            deployment.model,
            route,
            request.tenant or "",
            tags,
        )
        row = self._rows.get(at)
        if row is None:
            row = self._open(at)
        held = decision.cost
        row[0] += 1
        if usage is not None:
            row[1] += usage.input_tokens
            row[2] += usage.output_tokens
        if cost is not None and held is not None:
            row[3] += cost
            row[4] += held
            self.reconciliation.record(deployment.name, held, cost)
        elif cost is None and held is None:
            row[5] += 1
        else:
            row[3] += held or 0 if cost is None else cost
            row[4] += held or 0

    def _open(self, at: tuple[Hashable, ...]) -> list[int]:
        if len(self._rows) >= self.most:
            at = (*at[:-1], ())
        if len(self._rows) >= 2 * self.most and at not in self._rows:
            at = _OTHERS
        return self._rows.setdefault(at, [0] * 6)

    def report(self, group_by: str | None = None) -> tuple[CostRow, ...]:
        """By group, the dearest first. `group_by` is one of GROUPS, "tag:NAME", or None for one row of everything."""
        position, tag = _group(group_by)
        sums: dict[str, list[int]] = {}
        for at, row in self._rows.items():
            total = sums.setdefault(_value(at, position, tag), [0] * 6)
            for i, amount in enumerate(row):
                total[i] += amount
        ranked = sorted(sums.items(), key=lambda item: (-item[1][3], item[0]))
        return tuple(_row(group, total) for group, total in ranked)


def _group(group_by: str | None) -> tuple[int | None, str]:
    if group_by is None:
        return None, ""
    kind, colon, tag = group_by.partition(":")
    if kind == "tag" and tag:
        return 5, tag
    if colon or kind not in GROUPS:
        known = ", ".join(GROUPS)
        raise InvalidRequestError(f"Costs cannot be grouped by '{group_by}'; use {known}, or tag:NAME.")
    return GROUPS.index(kind), ""


def _value(at: tuple[Hashable, ...], position: int | None, tag: str) -> str:
    if position is None:
        return ""
    if not tag:
        return str(at[position])
    return next((value for name, value in at[5] if name == tag), "")  # type: ignore[attr-defined]  # pairs, see record


def _row(group: str, total: list[int]) -> CostRow:
    requests, given, made, cost, held, unpriced = total
    return CostRow(
        group=group,
        requests=requests,
        input_tokens=given,
        output_tokens=made,
        cost=dollars(cost),
        estimated=dollars(held),
        unpriced=unpriced,
    )
