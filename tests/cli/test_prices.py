"""`prices refresh`: a dated list is written, what changed is told, and a configuration that names it uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Command

from apikeyrouter import ApiKeyRouter, InvalidConfigurationError, prices
from apikeyrouter.reload import reload

pytest.importorskip("genai_prices", reason="genai-prices is not installed: pip install 'apikeyrouter[prices]'")


def with_list(config: Path, name: str) -> None:
    config.write_text(config.read_text() + f"settings: {{price_list: {name}}}\n")


def price_of(router: ApiKeyRouter, model: str = "gpt-4o-mini") -> tuple[int, str]:
    price = router.enrolment.router.registry.prices.find("openai", model)
    assert price is not None
    return price.hold(1_000_000, 0), price.source


def dearer(path: Path, factor: int) -> None:
    """As if the list had been refreshed after a rise."""
    listed = json.loads(path.read_text())
    listed["date"] = "2031-01-01"
    for row in listed["providers"]["openai"]["models"]:
        if row["id"] == "gpt-4o-mini":
            row["rates"]["input"] *= factor
    path.write_text(json.dumps(listed))


def test_a_list_is_written_and_compared_with_the_one_before(command: Command, folder: Path) -> None:
    done = command("prices", "refresh", "mine.json", "--provider", "openai")
    assert done.code == 0
    assert "Wrote mine.json: " in done.out
    assert "Against the shipped list (genai-prices " in done.out
    assert "settings: {price_list: mine.json}" in done.out
    dearer(folder / "mine.json", 10)
    told = command("prices", "refresh", "mine.json", "--provider", "openai", "--json").data()
    assert (told["changed"], told["new"], told["gone"]) == (["openai/gpt-4o-mini"], [], [])
    assert told["models"] > 50
    fewer = command("prices", "refresh", "mine.json", "--provider", "deepseek", "--json").data()
    assert "openai/gpt-4o" in fewer["gone"]
    assert "1.5 / 0.6" not in command("prices", "refresh", "mine.json").out


def test_a_configuration_uses_the_list_it_names_and_reads_it_again_on_reload(
    command: Command, config: Path, folder: Path
) -> None:
    command("prices", "refresh", "mine.json", "--provider", "openai")
    dearer(folder / "mine.json", 2)
    before = price_of(ApiKeyRouter.from_config(config, log=False))[0]
    with_list(config, "mine.json")
    router = ApiKeyRouter.from_config(config, log=False)
    assert price_of(router)[0] == 2 * before
    dearer(folder / "mine.json", 2)
    reload(router, config)
    assert price_of(router)[0] == 4 * before
    config.write_text(config.read_text().replace("settings: {price_list: mine.json}\n", ""))
    reload(router, config)
    assert price_of(router)[0] == before


def test_a_list_that_is_not_there_is_told_and_changes_nothing(config: Path) -> None:
    router = ApiKeyRouter.from_config(config, log=False)
    with_list(config, "none.json")
    with pytest.raises(InvalidConfigurationError, match=r"`apikeyrouter prices refresh none\.json` writes it"):
        ApiKeyRouter.from_config(config, log=False)
    with pytest.raises(InvalidConfigurationError, match=r"none\.json is not there"):
        reload(router, config)
    assert router.settings.price_list == ""


def test_prices_that_a_program_gave_stand_whatever_list_the_file_names(config: Path) -> None:
    before = price_of(ApiKeyRouter.from_config(config, log=False))
    with_list(config, "none.json")
    router = ApiKeyRouter.from_config(config, prices=prices.load(), log=False)
    assert price_of(router) == before
    config.write_text(config.read_text().replace("none.json", "nowhere.json"))
    assert reload(router, config).changed == ("settings",)
    assert price_of(router) == before
