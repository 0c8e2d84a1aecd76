"""`python -m apikeyrouter.simulator [demo | arena | providers | world.yaml]`: serve a simulated world on loopback
and say how to use it."""

from __future__ import annotations

import argparse
import sys

from apikeyrouter.errors import ApiKeyRouterError
from apikeyrouter.simulator.config import load
from apikeyrouter.simulator.server import run
from apikeyrouter.simulator.world import World


def main(argv: list[str] | None = None) -> int:
    """Serve until interrupted; 2 when the configuration or the installation is at fault."""
    parser = argparse.ArgumentParser(prog="apikeyrouter simulate", description=__doc__)
    parser.add_argument("world", nargs="?", default="demo", help="a preset (demo, arena, providers) or a YAML file")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8089, help="0 takes any free one")
    given = parser.parse_args(argv)
    try:
        run(World(load(given.world)), host=given.host, port=given.port, announce=_say)
    except (ApiKeyRouterError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()  # whoever reads through a pipe waits for the address


if __name__ == "__main__":
    raise SystemExit(main())
