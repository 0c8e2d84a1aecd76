"""`policy check` and `policy dry-run`: mistakes by line, and what other policies would have changed."""

from __future__ import annotations

import json
from pathlib import Path

from commands import Command

RULES = """
policies:
  eu-data: {when: "request.tags.region == 'eu'", require: "key.tags.region == 'eu'", version: 3}
  cheap: {scope: "tenant:acme", objective: cost, max_cost: 0.05 USD}
  off: {deny: {id: k1}, enabled: false}
"""


def test_check_shows_policies_from_the_weakest_to_the_strongest(command: Command, config: Path) -> None:
    config.write_text(config.read_text() + RULES)
    done = command("policy", "check")
    assert done.code == 0
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["eu-data", "cheap"]
    assert "v3" in lines[1]
    assert "max_cost 0.05 USD" in done.out
    assert "Disabled: off." in done.out
    assert "2 policies in force, no mistake found." in done.out
    found = command("policy", "check", "--json").data()
    assert [(p["id"], p["version"], p["scope"]) for p in found["policies"]] == [
        ("eu-data", "v3", "global"),
        ("cheap", "v1", "tenant:acme"),
    ]


def test_check_tells_every_mistake_with_its_place(command: Command, config: Path) -> None:
    config.write_text(config.read_text() + RULES + '  typo: {deny: "key.teir > 2"}\n  none: {}\n')
    done = command("policy", "check")
    assert done.code == 3
    assert "line 1, column 1: key has no 'teir'" in done.err + done.out
    assert "apikeyrouter.yaml" in done.err + done.out
    assert "does nothing" in done.err + done.out


def test_dry_run_counts_what_would_change(command: Command, config: Path, folder: Path) -> None:
    other = folder / "other.yaml"
    other.write_text(config.read_text() + "policies:\n  claude: {when: \"request.tenant == 'acme'\", deny: {id: k*}}\n")
    lines = [
        {
            "request": {
                "model": "fast",
                "tenant": "acme" if n % 4 == 0 else "x",
                "input_tokens": 1_000,
                "max_output_tokens": 99,
            },
            "at": 1.0 * n,
        }
        | {"outcome": {"status": 200}}
        for n in range(20)
    ]
    lines.append({"model": "fast", "input_tokens": 10, "max_output_tokens": 10, "max_cost": "0.5", "needs": ["tools"]})
    traffic = folder / "traffic.jsonl"
    traffic.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    done = command("policy", "dry-run", str(other), str(traffic))
    assert done.code == 0
    assert done.out.startswith("Would have changed 5 of 21 decisions, -$0.0")
    assert "5 newly refused" in done.out
    found = command("policy", "dry-run", "--json", str(other), str(traffic)).data()
    assert (found["requests"], found["changed"], found["newly_refused"]) == (21, 5, 5)
    traffic.write_text(traffic.read_text() + '{"model": "fast", "input_tokens": 10}')
    assert (
        "not counted: A request for 'fast' without max_tokens"
        in command("policy", "dry-run", str(other), str(traffic)).out
    )
    same = command("policy", "dry-run", "--json", str(config), str(traffic)).data()
    assert (same["changed"], same["cost"]) == (0, "0")


def test_dry_run_names_the_line_that_is_no_request(command: Command, config: Path, folder: Path) -> None:
    traffic = folder / "traffic.jsonl"
    for line in ("{", "[]", "{}", '{"model": 3}', '{"model": "fast", "max_cost": "much"}'):
        traffic.write_text(f'{{"model": "fast"}}\n{line}\n')
        done = command("policy", "dry-run", str(config), str(traffic))
        assert done.code != 0
        assert "line 2 is no recorded request" in done.err + done.out
