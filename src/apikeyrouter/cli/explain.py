"""`explain`: what the router of a configuration would decide for a request now, and why, without sending anything."""

from __future__ import annotations

from collections.abc import Sequence

from apikeyrouter.cli.found import router_of
from apikeyrouter.cli.page import Line, Page
from apikeyrouter.config import Config
from apikeyrouter.core.decision import Decision
from apikeyrouter.core.explain import rejections, scored, sentence
from apikeyrouter.core.model import Request, dollars
from apikeyrouter.core.refusal import refusal
from apikeyrouter.errors import InvalidRequestError

PREVIEW = "preview"


def tags_of(given: Sequence[str]) -> dict[str, str]:
    """`name=value` options as a mapping. Raises InvalidRequestError for anything else."""
    found: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise InvalidRequestError(f"The tag '{each}' is not written as name=value.")
        found[name] = value
    return found


def decide(config: Config, request: Request) -> Decision:
    """The decision; nothing is held."""
    decision = router_of(config).preview(request)
    decision.id = PREVIEW
    return decision


def explain(config: Config, decision: Decision) -> tuple[Page, dict[str, object]]:
    """The explanation in words, and in numbers."""
    page: list[Line] = [Line(str(decision))]
    if decision.chosen is None:
        page.append(Line(str(refusal(decision, known=tuple(sorted(config.aliases)))), "bad"))
    return page, data(decision)


def data(d: Decision) -> dict[str, object]:
    """The decision for programs: costs in dollars, waits in seconds, scores where lower wins."""
    candidates = [
        {
            "key": row.key,
            "provider": row.provider,
            "model": row.model,
            "score": row.score,
            "load": row.load,
            "cost": None if row.cost is None else dollars(row.cost),
            "terms": row.terms,
        }
        for row in scored(d)
    ]
    rejected = [
        {"key": r.who, "code": r.code, "reason": sentence(r), "wait_s": r.wait_s, "keys": r.count}
        for r in rejections(d)
    ]
    chosen = None if d.chosen is None else {"key": d.key, "provider": d.provider, "model": d.model}
    return {
        "id": d.id,
        "model": d.roster.model,
        "input_tokens": d.need[2],
        "max_output_tokens": d.need[3],
        "chosen": chosen,
        "cost": None if d.cost is None else dollars(d.cost),
        "retry_after": d.retry_after,
        "objective": {"name": d.objective.name, "weights": dict(d.objective.weights)},
        "candidates": candidates,
        "rejected": rejected,
        "explanation": str(d),
    }
