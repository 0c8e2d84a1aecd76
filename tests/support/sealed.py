"""No network at all, not even loopback, for as long as a test replays what was recorded.

An audit hook cannot be taken off, so this one is put on once and obeys a switch. Unix sockets stay: an event loop
wakes itself through a pair of them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_REFUSED = frozenset({"socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo"})
_closed: list[bool] = []
_hooked: list[bool] = []


@contextmanager
def sealed() -> Iterator[None]:
    """Nothing in this process reaches a network address meanwhile; who tries gets a PermissionError."""
    if not _hooked:
        _hooked.append(True)
        sys.addaudithook(_refuse)
    _closed.append(True)
    try:
        yield
    finally:
        _closed.pop()


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if not _closed or event not in _REFUSED:
        return
    if event == "socket.getaddrinfo" or isinstance(arguments[1], tuple):
        raise PermissionError(f"{event} refused: what is replayed from cassettes reaches no network.")
