"""The figures that our router is held to in each profile; `make arena` ends with 1 when one is missed.

A limit on the wait is the reference's own wait (0.1 s more, what a request may cost where nobody waits), or 0.1 s.
"""

from __future__ import annotations

from dataclasses import dataclass

from arena.result import Row

ADDED_S = 0.1
COLD = 2
"""429s of one pool before its first answer, which no router can foresee."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Required:
    """At most `throttled` 429s per success and `failed` of the requests, at least `share` of the reference's goodput.

    `waits` is what the p95 wait is held to: "added" (ADDED_S), "reference", or "" for no bound.
    """

    throttled: float
    share: float = 0.95
    failed: float = 1.0
    waits: str = ""


FAIR = Required(throttled=0.005, share=1.0, failed=0.0, waits="added")
OVERLOAD = Required(throttled=0.02, share=0.97, waits="reference")
SMALL_STEPS = Required(throttled=0.01)
LEARNED = Required(throttled=0.01)
DISTURBED = Required(throttled=0.02)
REQUIRED = {
    "0.9": FAIR,
    "1.1": OVERLOAD,
    "1.4": OVERLOAD,
    "smooth": SMALL_STEPS,
    "smooth-1.1": SMALL_STEPS,
    "foreign": DISTURBED,
    "foreign-1.1": DISTURBED,
    "unknown": LEARNED,
    "unknown-1.1": LEARNED,
    "unknown-smooth": LEARNED,
    "trace": Required(throttled=0.02),
}


def sentence(name: str) -> str:
    """What a profile asks for, in words."""
    r = REQUIRED[name]
    said = [f"at most {r.throttled:g} 429 per success"]
    if not r.failed:
        said.append("no failure")
    if r.share < 1.0:
        said.append(f"goodput at least {100 * r.share:.0f} % of the reference queue's")
    if r.waits:
        said.append(
            "p95 wait at most " + ("0.1 s" if r.waits == "added" else "0.1 s longer than the reference queue's")
        )
    return ", ".join(said)


def missed(name: str, ours: Row, reference: Row) -> list[str]:
    """Every figure of the profile that `ours` does not reach; both are means of the same seeds."""
    r, found = REQUIRED[name], []
    longest = ADDED_S + (reference.p95_s if r.waits == "reference" else 0.0)
    if ours.throttled > r.throttled:
        found.append(f"{ours.throttled:.4f} 429 per success, more than {r.throttled:g}")
    if ours.cold > COLD:
        found.append(f"{ours.cold:.0f} 429s of a pool before its first answer, more than {COLD}")
    if ours.failed > r.failed:
        found.append(f"{100 * ours.failed:.2f} % failed, more than {100 * r.failed:.0f} %")
    if ours.goodput < r.share * reference.goodput:
        found.append(f"goodput {ours.goodput:.4f}, less than {100 * r.share:.0f} % of {reference.goodput:.4f}")
    if r.waits and ours.p95_s > longest:
        found.append(f"p95 wait {ours.p95_s:.2f} s, longer than {longest:.2f} s")
    return found
