"""Two workers of one Proxy count apart, and say so: a limit may then be spent twice."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from litellm_example import EXAMPLE, example

from apikeyrouter.simulator import serve

WARNING = "Another worker of this Proxy routes by counters of its own"


@pytest.mark.torture
def test_the_second_worker_of_a_proxy_warns() -> None:
    run = example()
    world = run.simulated_world()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("litellm")), "--config", str(EXAMPLE / "config.yaml")]
    command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "2"]
    with serve(world, thread=True) as provider:
        variables = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", **run.environment(world, provider)}
        out = subprocess.STDOUT
        with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=out, text=True) as process:
            assert process.stdout is not None
            said = [next(line for line in process.stdout if WARNING in line)]
            process.terminate()
            said += [line for line in process.stdout if WARNING in line]
    assert len(said) == 1, "the first has nobody to warn of"
