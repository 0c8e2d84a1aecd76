"""`policy check` and `policy dry-run`: what a configuration's policies say, and what others would have changed.

Traffic is JSON lines of requests, each by itself or under `request`, with `at` as epoch seconds where it is known. The
requests are decided by the router of the present configuration and asked again under the other policies; nothing is
sent, and no text of a request is needed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

from apikeyrouter.cli.found import router_of
from apikeyrouter.cli.page import Line, Page, Table
from apikeyrouter.config import Config
from apikeyrouter.core.decision import Decision
from apikeyrouter.core.model import Request
from apikeyrouter.core.policy import EFFECTS, Policy
from apikeyrouter.core.rehearsal import Impact
from apikeyrouter.errors import InvalidRequestError, RoutingError
from apikeyrouter.intake import checked

_FIELDS: Final = frozenset(each.name for each in fields(Request)) - {"among", "objective", "sending_s", "due"}


def check(config: Config) -> tuple[Page, dict[str, object]]:
    """The policies, from the weakest to the strongest. Whatever is wrong with them was told when they were read."""
    policing = router_of(config).policing
    rules = policing.prepare(config.policies).rules
    rows = [(p.id, f"v{p.version}", p.scope, str(p.when or "always"), _effects(p)) for p in (r.policy for r in rules)]
    off = [p.id for p in config.policies if not p.enabled]
    page: list[Line | Table] = [Table(("policy", "version", "scope", "when", "then"), rows)]
    page += [Line(f"Disabled: {', '.join(off)}.", "dim")] if off else []
    page.append(Line(f"{len(rows)} policies in force, no mistake found.", "good"))
    told = [dict(zip(("id", "version", "scope", "when", "then"), row, strict=True)) for row in rows]
    return page, {"policies": told, "disabled": off}


def _effects(policy: Policy) -> str:
    return ", ".join(f"{name} {getattr(policy, name)}" for name in EFFECTS if getattr(policy, name) not in (None, {}))


def dry_run(config: Config, other: Config, traffic: Path) -> tuple[Page, dict[str, object]]:
    """What the policies of `other` would have changed about recorded requests. Raises InvalidRequestError by line."""
    router = router_of(config)
    decisions: list[Decision] = []
    unheld = ""
    for number, (request, at) in enumerate(list(_requests(traffic)), start=1):
        try:
            decision = router.preview(request)
        except RoutingError as error:  # nothing was decided, so no policy can change it
            unheld = str(error)
            continue
        decision.id = request.request_id or f"request {number}"
        decision.at = decision.at if at is None else at
        decisions.append(decision)
    policing = router.policing
    impact = policing.rehearse(policing.prepare(config.policies), policing.prepare(other.policies), decisions)
    page: list[Line | Table] = [Line(f"{str(impact).capitalize()}.")]
    if impact.examples:
        page.append(Line(f"Refused, for example: {', '.join(impact.examples)}.", "warn"))
    if unheld:
        page.append(Line(f"Some requests could not be decided at all and are not counted: {unheld}", "warn"))
    told: dict[str, object] = {each.name: getattr(impact, each.name) for each in fields(Impact)}
    counts = {name: dict(value) for name, value in told.items() if isinstance(value, Counter)}
    return page, {**told, **counts, "cost": impact.cost}


def _requests(traffic: Path) -> Iterator[tuple[Request, float | None]]:
    for number, line in enumerate(traffic.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                yield _request(json.loads(line))
            except (ValueError, TypeError, InvalidOperation, InvalidRequestError) as error:
                raise InvalidRequestError(f"{traffic}, line {number} is no recorded request: {error}") from None


def _request(given: object) -> tuple[Request, float | None]:
    if not isinstance(given, Mapping):
        raise TypeError(f"it is a {type(given).__name__}; write an object with `model`.")
    inner = given.get("request", given)
    known = {name: value for name, value in inner.items() if name in _FIELDS and value is not None}
    if "max_cost" in known:
        known["max_cost"] = Decimal(str(known["max_cost"]))
    if "needs" in known:
        known["needs"] = frozenset(known["needs"])
    at = given.get("at", inner.get("at"))
    return checked(Request(**known)), None if at is None else float(at)
