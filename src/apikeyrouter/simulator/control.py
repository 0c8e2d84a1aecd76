"""`/_sim/...`: the handle on a running world for whoever is not in its process. The same verbs as the Python object.

GET    /_sim/state            counters of every organisation and key, levels of every window
GET    /_sim/records?limit=   the last requests, newest last
POST   /_sim/faults           {"kind": "error", "times": 3, "status": 500, "key": "a1"}
DELETE /_sim/faults           all of them
POST   /_sim/keys/{id}        {"status": "revoked" | "alive" | "dead"}
POST   /_sim/organisations/{id}  {"status": "unpaid" | "active"}
POST   /_sim/reset            full buckets, living keys, empty record
"""

from __future__ import annotations

from dataclasses import asdict

from apikeyrouter.simulator.config import read_fault
from apikeyrouter.simulator.wire import Answer, Json, Request, json_answer, text, whole
from apikeyrouter.simulator.world import World

__all__ = ["answer"]


def answer(world: World, request: Request) -> Answer:
    """Do what a control request asks."""
    parts = request.path.strip("/").split("/")[1:]
    verb = (request.method, parts[0] if parts else "state")
    body = request.json() or {}
    if verb == ("GET", "state"):
        return json_answer(200, world.state())
    if verb == ("GET", "records"):
        return json_answer(200, _records(world, whole(request.params().get("limit"), 1000)))
    if verb == ("POST", "faults"):
        return _add_fault(world, body)
    if verb == ("DELETE", "faults"):
        world.faults.clear()
        return json_answer(200, {"faults": 0})
    if verb == ("POST", "reset"):
        world.reset()
        return json_answer(200, world.state())
    if request.method == "POST" and len(parts) == 2:
        return _set_status(world, parts[0], parts[1], text(body.get("status")))
    return json_answer(404, {"error": f"no control verb {request.method} {request.path}; see GET /_sim/state"})


def _records(world: World, limit: int) -> list[Json]:
    return [{**asdict(seen), "taken": dict(seen.taken)} for seen in world.record.all()[-limit:]]


def _add_fault(world: World, body: dict[str, Json]) -> Answer:
    problems: list[str] = []
    fault = read_fault(body, "fault", problems)
    if fault is None:
        return json_answer(400, {"error": "; ".join(problems)})
    world.faults.add(fault)
    return json_answer(200, {"faults": len(world.faults.all())})


def _set_status(world: World, what: str, name: str, status: str) -> Answer:
    if what == "keys" and name in world.keys and status in ("alive", "dead", "revoked"):
        world.key(name).status = status
    elif what == "organisations" and name in world.organisations and status in ("active", "unpaid"):
        world.unpaid(name, unpaid=status == "unpaid")
    else:
        return json_answer(400, {"error": f"cannot set {what} {name!r} to {status!r}"})
    return json_answer(200, world.state())
