"""Locks that a forked child finds free: another thread may hold one at the very moment of the fork, and is not copied.

Servers that fork workers build their application first, so a router that deadlocks in a child would be found late.
"""

from __future__ import annotations

import os
from threading import Lock
from weakref import WeakSet

_LOCKS: WeakSet[Lock] = WeakSet()


def new_lock() -> Lock:
    """A plain lock, free again in a forked child."""
    lock = Lock()
    _LOCKS.add(lock)
    return lock


def _free_all() -> None:
    for lock in list(_LOCKS):
        lock._at_fork_reinit()  # type: ignore[attr-defined]  # what the standard library does with its own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_all)
