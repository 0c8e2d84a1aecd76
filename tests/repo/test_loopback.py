"""The guard that keeps tests off the network, tried with real sockets."""

from __future__ import annotations

import socket

import pytest
from loopback import is_local


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", b"127.0.0.1", None, "::1%lo"])
def test_loopback_is_local(host: object) -> None:
    assert is_local(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "192.0.2.1", "10.0.0.1", "api.example.com", b"example.com", 7])
def test_everything_else_is_not(host: object) -> None:
    assert not is_local(host)


def test_a_connection_to_another_machine_is_refused_before_it_leaves() -> None:
    with socket.socket() as sock, pytest.raises(PermissionError, match="stay on loopback"):
        sock.connect(("192.0.2.1", 9))


def test_a_name_is_not_even_looked_up() -> None:
    with pytest.raises(PermissionError, match=r"api\.example\.com"):
        socket.getaddrinfo("api.example.com", 443)


def test_a_server_is_not_bound_to_every_interface() -> None:
    with socket.socket() as sock, pytest.raises(PermissionError, match="refused"):
        sock.bind(("0.0.0.0", 0))


def test_loopback_works() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.sendall(b"x")
        accepted, _ = server.accept()
        with accepted:
            assert accepted.recv(1) == b"x"
