"""Worlds that need no configuration: the demonstration's, the benchmarks' arena, and one with every dialect."""

from __future__ import annotations

from apikeyrouter.simulator.spec import Key, Latency, Organisation, OutputLength, WorldSpec, limits

__all__ = ["PRESETS", "arena", "demo", "providers"]


def demo() -> WorldSpec:
    """Three organisations and six keys of the OpenAI dialect, a geocoding account, and models that take their time.

    Key ids: a1 a2 a3 (org-a), b1 b2 (org-b), c1 (org-c), geo1 geo2 (two plain accounts).
    """
    return WorldSpec(
        organisations=(
            Organisation(id="org-a", keys=("a1", "a2", "a3"), limits=limits(rpm=500, tpm=200_000)),
            Organisation(id="org-b", keys=("b1", "b2"), limits=limits(rpm=200, tpm=100_000)),
            Organisation(id="org-c", keys=("c1",), limits=limits(rpm=60, tpm=40_000, rpd=10_000)),
            Organisation(id="geo-a", keys=("geo1",), dialect="plain", limits=limits(rpm=120, rpd=5_000, shape="fixed")),
            Organisation(
                id="geo-b",
                keys=("geo2",),
                dialect="plain",
                limits=limits(rpm=60, rpd=1_000, shape="fixed"),
                headers="x",
            ),
        ),
        latency=Latency(first_s=0.05, per_token_s=0.002, sigma=0.3),
        output=OutputLength(tokens=60, sigma=0.5),
    )


def arena() -> WorldSpec:
    """Eight keys in five organisations of unequal size, one-minute buckets, cold start: what routers compete in.

    Key ids: k1 k2 k3 (org-1), k4 k5 (org-2), k6 (org-3), k7 (org-4), k8 (org-5).
    """
    sizes = (
        ("org-1", 500, 200_000, 3),
        ("org-2", 500, 200_000, 2),
        ("org-3", 300, 120_000, 1),
        ("org-4", 200, 80_000, 1),
        ("org-5", 100, 40_000, 1),
    )
    organisations, number = [], 0
    for name, rpm, tpm, keys in sizes:
        ids = tuple(Key(id=f"k{number + i + 1}") for i in range(keys))
        number += keys
        organisations.append(Organisation(id=name, keys=ids, limits=limits(rpm=rpm, tpm=tpm)))
    return WorldSpec(organisations=tuple(organisations), latency=Latency(first_s=0.02))


def providers() -> WorldSpec:
    """Two organisations of every dialect, two keys each: what a first look at the simulator needs.

    Key ids: openai-1 to openai-4, and so on for anthropic, gemini and plain (1 and 2 belong together, 3 and 4).
    """
    usual = {
        "openai": limits(rpm=500, tpm=200_000),
        "anthropic": limits(rpm=50, itpm=50_000, otpm=10_000),
        "gemini": limits(rpm=150, tpm=1_000_000, rpd=1_500, zone="America/Los_Angeles"),
        "plain": limits(rpm=60, rpd=1_000, shape="fixed"),
    }
    organisations = tuple(
        Organisation(id=f"{dialect}-{name}", keys=_pair(dialect, first), dialect=dialect, limits=given)
        for dialect, given in usual.items()
        for name, first in (("a", 1), ("b", 3))
    )
    return WorldSpec(organisations=organisations, latency=Latency(first_s=0.2, per_token_s=0.01, sigma=0.3))


def _pair(dialect: str, first: int) -> tuple[str, str]:
    return f"{dialect}-{first}", f"{dialect}-{first + 1}"


PRESETS = {"demo": demo, "arena": arena, "providers": providers}
