"""What variables of the environment decide: where state lives, how the proxy listens, what is logged.

A variable wins over the file. Secrets of the installation (the management key, the key that encrypts keys) have no
place in the file at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from apikeyrouter.config.environ import Environ
from apikeyrouter.config.model import MEMORY, ServerEntry
from apikeyrouter.config.problems import Problem
from apikeyrouter.config.reader import Reader
from apikeyrouter.config.tree import Node
from apikeyrouter.credentials import Secret
from apikeyrouter.errors import ConfigurationError

CONFIG: Final = "APIKEYROUTER_CONFIG"
STATE: Final = "APIKEYROUTER_STATE"
MASTER_KEY: Final = "APIKEYROUTER_MASTER_KEY"
MANAGEMENT_KEY: Final = "MANAGEMENT_API_KEY"
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
SCHEMES: Final = ("memory", "sqlite", "redis", "rediss", "mongodb", "mongodb+srv", "postgresql", "jsonl")
_WORDS: Final = ("cors_origins", "host", "open", "port")
_MOST_PORT: Final = 65_535


def read_state(reader: Reader, node: Node | None, environ: Environ) -> str:
    """Where state lives: APIKEYROUTER_STATE, REDIS_URL or MONGODB_URL where enabled, the file, memory."""
    given = _variable(environ, STATE, node)
    if given is None or given.value is None:
        given = _enabled(reader, environ) or given
    address = reader.text(given, "sqlite:///apikeyrouter.db") or MEMORY
    check_address(reader, given, address, ("memory", "sqlite", "redis", "rediss", "mongodb", "mongodb+srv"))
    return address


def _enabled(reader: Reader, environ: Environ) -> Node | None:
    for name in ("REDIS", "MONGODB"):
        if reader.truth(_variable(environ, f"{name}_ENABLED", None)):
            found = _variable(environ, f"{name}_URL", None)
            database = environ.get("MONGODB_DATABASE", "")
            if found is None:
                reader.problems.append(Problem("", f"{name}_ENABLED", f"is true, but {name}_URL is not set; set it"))
            elif name == "MONGODB" and database and isinstance(found.value, str):
                found.value = f"{found.value.rstrip('/')}/{database}"
            return found
    return None


def check_address(reader: Reader, node: Node | None, address: str, schemes: tuple[str, ...] = SCHEMES) -> None:
    """An address of a store names a scheme we know; it may hold a password and is never quoted."""
    scheme = address.partition(":")[0].partition("+")[0] if address != MEMORY else MEMORY
    if scheme not in {each.partition("+")[0] for each in schemes} and node is not None:
        forms = "memory, sqlite:///file.db, redis://host/0, mongodb://host/db"
        if "postgresql" in schemes:
            forms = "sqlite:///audit.db, postgresql://host/db, mongodb://host/db, jsonl:file.jsonl"
        reader.add(node, f"is no address of a store; write one like {forms}")


def read_server(reader: Reader, node: Node | None, settings: Node | None, environ: Environ) -> ServerEntry:
    """How the proxy listens and what is logged; see ServerEntry."""
    given = reader.fields(node, _WORDS, "{host: 127.0.0.1, port: 8000}") if node is not None else {}
    logged = settings.child("log_level") if settings is not None else None
    counted = settings.child("metrics") if settings is not None else None
    port = _variable(environ, "PROXY_PORT", given.get("port"))
    number = reader.whole(port, 8000, least=1)
    if number > _MOST_PORT and port is not None:
        reader.add(port, f"is {number}; a port is at most {_MOST_PORT}")
    return ServerEntry(
        host=reader.text(_variable(environ, "PROXY_HOST", given.get("host")), "127.0.0.1") or "127.0.0.1",
        port=number,
        cors_origins=_origins(reader, _variable(environ, "CORS_ORIGINS", given.get("cors_origins"))),
        open=reader.truth(given.get("open")),
        management_key=_secret(reader, environ, MANAGEMENT_KEY),
        master_key=_secret(reader, environ, MASTER_KEY),
        log_level=_level(reader, _variable(environ, "LOG_LEVEL", logged)),
        metrics=reader.truth(_variable(environ, "METRICS_ENABLED", counted), default=True),
    )


def _origins(reader: Reader, node: Node | None) -> tuple[str, ...]:
    if node is not None and isinstance(node.value, str):
        return tuple(part.strip() for part in node.value.split(",") if part.strip())
    return reader.texts(node, "https://app.example.com")


def _level(reader: Reader, node: Node | None) -> str:
    if node is not None and isinstance(node.value, str):
        node = Node(node.value.upper(), node.path, node.line)
    return reader.choice(node, LEVELS, "INFO")


def _variable(environ: Mapping[str, str], name: str, other: Node | None) -> Node | None:
    """A variable as a node of its own, or what the file says; an empty variable says nothing."""
    value = environ.get(name, "").strip()
    return Node(value, name) if value else other


def _secret(reader: Reader, environ: Environ, name: str) -> Secret | None:
    value = environ.get(name, "").strip()
    if not value:
        return None
    try:
        return Secret(value, name=name)
    except ConfigurationError as error:
        reader.problems.append(Problem("", name, error.message))
        return None
