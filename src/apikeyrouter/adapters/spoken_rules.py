"""Where a dialect's refusals state quotas and name their owner, from plain data.

`owners: [{path: $.user_id}, {message: "in organization (org-[a-z0-9]+)"}]`, all of them together are one identity;
`quotas: [{path: "$.details[*]", limit: quotaValue, names: [quotaId]}]` are objects that each describe a violated quota;
`headers: [$.error.metadata.headers]` are headers of the answer behind this one, read like its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from apikeyrouter.adapters.narrow import items, mapping, text
from apikeyrouter.adapters.rules import Problems, path, paths, pattern
from apikeyrouter.core.spoken import OwnerRule, QuotaObjects, SpokenTable


def spoken_table(raw: Mapping[str, object], where: str, problems: Problems, base: SpokenTable) -> SpokenTable:
    """The table of an `errors` section; what it does not say, the family's says."""
    owners = (_owner(one, f"{where}.owners[{at}]", problems) for at, one in enumerate(items(raw.get("owners"))))
    quotas = (_quotas(one, f"{where}.quotas[{at}]", problems) for at, one in enumerate(items(raw.get("quotas"))))
    return SpokenTable(
        owners=tuple(one for one in owners if one is not None) or base.owners,
        quotas=tuple(one for one in quotas if one is not None) or base.quotas,
        headers=paths(raw.get("headers"), f"{where}.headers", problems) or base.headers,
    )


def _owner(raw: object, where: str, problems: Problems) -> OwnerRule | None:
    given = mapping(raw)
    problems.unknown(where, given, frozenset({"path", "message"}))
    if len(given) != 1:
        problems.add(where, "an owner is {path: $.user_id} or {message: 'in organization (org-[a-z0-9]+)'}")
        return None
    if "path" in given:
        at = path(given["path"], f"{where}.path", problems)
        return None if at is None else OwnerRule(path=at)
    found = pattern(given.get("message"), f"{where}.message", problems)
    if found is not None and found.groups != 1:
        problems.add(where, "the pattern of an owner has one group, which is the owner's name")
        return None
    return None if found is None else OwnerRule(message=found)


def _quotas(raw: object, where: str, problems: Problems) -> QuotaObjects | None:
    given = mapping(raw)
    problems.unknown(where, given, frozenset({"path", "limit", "names"}))
    at = path(given.get("path"), f"{where}.path", problems)
    names = tuple(text(name) for name in items(given.get("names")) if text(name))
    if at is None or not text(given.get("limit")) or not names:
        problems.add(where, "write {path: '$.details[*]', limit: quotaValue, names: [quotaId]}")
        return None
    return QuotaObjects(at, text(given.get("limit")), names)
