"""`prices refresh`: write what the installed price lists say now to a file, and tell what changed.

Prices change weekly, releases of this package do not: `pip install -U genai-prices`, then this command, brings them up
to date. A configuration uses the file by `settings: {price_list: FILE}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from apikeyrouter import prices
from apikeyrouter.cli.page import Line, Page, Table
from apikeyrouter.core.rates import Row
from apikeyrouter.prices import listfile
from apikeyrouter.prices.listfile import PriceList

SHOWN: Final = 20
Name = tuple[str, str]


def refresh(path: Path, providers: Sequence[str]) -> tuple[Page, dict[str, object]]:
    """Write the list. It is compared with the file that was there, else with the list that is shipped."""
    known = path.exists()
    before = listfile.read(path if known else prices.SHIPPED)
    listed = prices.refresh(path, providers=providers or None)
    old, new = _rows(before), _rows(listed)
    came = sorted(new.keys() - old.keys()) if known else []
    went = sorted(old.keys() - new.keys()) if known else []
    changed = sorted(at for at in old.keys() & new.keys() if _said(old[at]) != _said(new[at]))
    owners = len({row.provider for row in listed.rows})
    wrote = f"Wrote {path}: {len(listed.rows):,} models of {owners} providers, {listed.name} of {listed.date}."
    against = f"Against {path if known else f'the shipped list ({before.name})'}: {len(changed)} changed"
    more = f", {len(came)} new, {len(went)} gone." if known else "."
    page: list[Line | Table] = [Line(wrote, "good"), Line(against + more)]
    rows = [("/".join(at), _dollars(old[at]), _dollars(new[at])) for at in changed[:SHOWN]]
    page += [Table(("model", "before", "now: input and output, $ a million"), rows)] if rows else []
    page.append(Line(f"Use it with `settings: {{price_list: {path}}}`.", "dim"))
    told = {"path": str(path), "source": listed.name, "date": listed.date, "models": len(listed.rows)}
    names = {"changed": changed, "new": came, "gone": went}
    return page, {**told, **{kind: ["/".join(at) for at in found] for kind, found in names.items()}}


def _rows(listed: PriceList) -> dict[Name, Row]:
    return {(row.provider, row.id): row for row in listed.rows}


def _said(row: Row) -> tuple[object, ...]:
    """What a row says of prices, without where it is from and when it was read."""
    hours = [(start, end, _said(one)) for start, end, one in row.hours]
    variants = {tier: _said(one) for tier, one in row.variants.items()}
    return dict(row.rates), row.tiers, hours, variants, [(start, _said(one)) for start, one in row.later]


def _dollars(row: Row) -> str:
    return " / ".join(f"{row.rates.get(kind, 0) / 1e6:g}" for kind in ("input", "output"))
