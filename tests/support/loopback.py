"""Keeps a process on loopback: an audit hook that refuses every other address before a packet leaves.

An audit hook sees the sockets of every library, patched or not, and cannot be taken off again, so nothing a test or a
document's block does can reach a real provider. The refusal is a PermissionError, hence an OSError, which network code
already knows how to meet. Only the standard library is used here: the documents' runner imports it in bare processes.
"""

from __future__ import annotations

import ipaddress
import sys

_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "testserver"})
_ADDRESSED = frozenset({"socket.connect", "socket.sendto", "socket.bind", "socket.sendmsg"})


def is_local(host: object) -> bool:
    """Whether a host, as given to the socket functions, stays on this machine; None and "" mean it did not say."""
    if isinstance(host, (bytes, bytearray)):
        host = bytes(host).decode("ascii", "replace")
    if not isinstance(host, str):
        return host is None
    if host in _LOCAL_NAMES:
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def only_loopback() -> None:
    """From now on this process reaches loopback and Unix sockets alone."""
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in _ADDRESSED and len(arguments) > 1 and isinstance(arguments[1], tuple) and arguments[1]:
        host = arguments[1][0]
    else:
        return
    if not is_local(host):
        raise PermissionError(
            f"{event} to {host!r} refused: tests and documents stay on loopback; start the simulator."
        )
