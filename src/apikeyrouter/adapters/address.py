"""Which addresses a key may be sent to: https, or loopback, or plain http that somebody allowed on purpose."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from apikeyrouter.errors import InvalidConfigurationError


def is_loopback(host: str) -> bool:
    """Whether a host name or address stays on this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_base_url(url: str, *, allow_http: bool = False) -> str:
    """The address without its trailing slash. Raises InvalidConfigurationError unless it is https or loopback."""
    problem = base_url_problem(url, allow_http=allow_http)
    if problem is not None:
        raise InvalidConfigurationError(problem)
    return url.rstrip("/")


def base_url_problem(url: str, *, allow_http: bool = False) -> str | None:
    """The sentence that says what is wrong with an address, or None."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "base_url is not a URL; write it like https://api.example.com/v1"
    if parts.scheme not in ("http", "https") or not host:
        return "base_url is not an http(s) URL; write it like https://api.example.com/v1"
    if parts.username is not None or parts.password is not None:
        return f"base_url for {host} holds a user name or password; give them as the key's secret"
    if parts.query or parts.fragment:
        return f"base_url for {host} has a query or fragment; give the address up to the path only"
    if parts.scheme == "http" and not (allow_http or is_loopback(host)):
        return f"base_url for {host} is plain http, which would send keys in clear; use https or set allow_http: true"
    return None
