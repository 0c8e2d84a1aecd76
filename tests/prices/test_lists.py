"""Where price lists come from: the shipped file, a refreshed one, litellm's; what reading costs and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from apikeyrouter import prices
from apikeyrouter.core.model import Usage
from apikeyrouter.core.price import Price, Shelf
from apikeyrouter.core.rates import Row
from apikeyrouter.errors import InvalidConfigurationError
from apikeyrouter.prices import genai_list, listfile, litellm_list
from apikeyrouter.prices.listfile import PriceList

TODAY = date(2026, 11, 23)
MILLION = Usage(input_tokens=1_000_000)


def epoch(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def full_row() -> Row:
    base = Row(
        provider="maker",
        id="Model-1",
        rates={"input": 10, "output": 20},
        tiers=((1000, {"input": 30}),),
        match=("model-1", "model-1-*"),
        source="a list 1.0",
        date="2026-01-01",
        context_window=128_000,
        max_output_tokens=4096,
    )
    other = Row(
        provider="maker",
        id="Model-1",
        rates={"input": 5, "output": 10},
        source="a list 1.0",
        date="2026-01-01",
        context_window=128_000,
        max_output_tokens=4096,
    )
    later = Row(
        provider="maker",
        id="Model-1",
        rates={"input": 99},
        source="a list 1.0",
        date="2027-01-01",
        context_window=128_000,
        max_output_tokens=4096,
    )
    changes = {"variants": {"batch": other}, "hours": ((0, 3600, other),), "later": ((epoch("2027-01-01"), later),)}
    return Row(**{name: getattr(base, name) for name in Row.__slots__} | changes)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    written = PriceList(
        name="a list 1.0",
        date="2026-02-01",
        about="made by hand",
        rows=(full_row(), Row(provider="shop", id="m", source="elsewhere", date="2026-02-01", rates={"request": 7})),
        aliases={"maker": ("*makers*",)},
        claims={"maker": ("model-*",)},
        fallback={"shop": ("maker",)},
    )
    listfile.write(tmp_path / "deep" / "list.json", written)
    assert listfile.read(tmp_path / "deep" / "list.json") == written
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["list.json"]


@pytest.mark.parametrize(("day", "rate", "ahead"), [("2026-12-31", 10, 1), ("2027-01-01", 99, 0)])
def test_a_list_is_read_as_of_a_day(day: str, rate: int, ahead: int) -> None:
    listed = PriceList(name="a", date="2026-01-01", rows=(full_row(),))
    (row,) = listfile.shelf(listed, date.fromisoformat(day))
    assert row.rates["input"] == rate
    assert len(row.later) == ahead


GOOD = {
    "schema": 1,
    "name": "n",
    "date": "2026-01-01",
    "providers": {"p": {"models": [{"id": "m", "rates": {"input": 1}}]}},
}


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "[]",
        "{}",
        json.dumps({**GOOD, "schema": 2}),
        json.dumps({**GOOD, "date": "yesterday"}),
        json.dumps({**GOOD, "providers": []}),
        json.dumps({**GOOD, "providers": {"p": {"models": [{"id": "m", "rates": {"input": 1.5}}]}}}),
        json.dumps({**GOOD, "providers": {"p": {"models": [{"id": "m", "rates": {"input": -1}}]}}}),
        json.dumps({**GOOD, "providers": {"p": {"models": [{"id": "m", "rates": {"inptu": 1}}]}}}),
        json.dumps({**GOOD, "providers": {"p": {"models": [{"id": "m", "tiers": [[1]]}]}}}),
    ],
)
def test_a_file_that_is_no_list_is_refused_with_its_name(tmp_path: Path, broken: str) -> None:
    assert listfile.parse(json.dumps(GOOD), "good").rows[0].id == "m"
    path = tmp_path / "mine.json"
    path.write_text(broken)
    with pytest.raises(InvalidConfigurationError, match=r"mine\.json.*refresh"):
        prices.load(local=path, installed=False)


def test_the_shipped_list_names_its_source_and_prices_the_usual_models() -> None:
    listed = listfile.read(prices.SHIPPED)
    assert "MIT" in listed.about
    assert "pydantic/genai-prices" in listed.about
    assert len(listed.rows) > 600
    assert all(row.source.startswith("genai-prices ") and date.fromisoformat(row.date) for row in listed.rows)
    book = prices.load(installed=False)
    for model in ("gpt-4o", "gpt-4o-mini", "claude-haiku-4-5", "gemini-2.5-flash", "mistral-small-latest"):
        price = book.find("", model)
        assert price is not None
        assert 0 < price.cost(MILLION) < 100 * 10**9


def test_no_row_is_free_by_accident() -> None:
    """A model with nothing we count (seconds, pages) must be unknown, not free; those here are given away."""
    given_away = {row.id for row in prices.shipped(TODAY) if Price(row).free}
    assert not {name for name in given_away if "free" not in name and "guard" not in name and "moderation" not in name}


def test_a_refreshed_file_wins_when_it_is_as_new_as_the_shipped_list(tmp_path: Path) -> None:
    path = tmp_path / "local.json"
    mine = Row(provider="openai", id="gpt-4o", rates={"input": 1}, source="mine", date="2027-01-01")
    for day, source in (("2027-01-01", "mine"), ("2020-01-01", "genai-prices 0.2.3")):
        listfile.write(path, PriceList(name="mine", date=day, rows=(mine,)))
        price = prices.load(local=path, installed=False).find("openai", "gpt-4o")
        assert price is not None
        assert price.source == source


def test_a_missing_local_file_is_no_error(tmp_path: Path) -> None:
    assert prices.load(local=tmp_path / "none.json", installed=False).find("openai", "gpt-4o")


def test_refresh_writes_what_the_installed_release_says(tmp_path: Path) -> None:
    pytest.importorskip("genai_prices", reason="genai-prices is not installed: pip install 'apikeyrouter[prices]'")
    path = tmp_path / "local.json"
    listed = prices.refresh(path, providers=["openai", "deepseek"], litellm=False, today=TODAY)
    assert {row.provider for row in listed.rows} == {"openai", "deepseek"}
    assert listfile.read(path) == listed
    book = prices.load(local=path, installed=False, today=TODAY)
    assert book.find("deepseek", "deepseek-chat") is not None


LITELLM = {
    "sample_spec": {"input_cost_per_token": 0.0, "litellm_provider": "one of https://docs"},
    "gpt-4o": {
        "litellm_provider": "openai",
        "input_cost_per_token": 2.5e-06,
        "output_cost_per_token": 1e-05,
        "cache_read_input_token_cost": 1.25e-06,
        "input_cost_per_token_batches": 1.25e-06,
        "input_cost_per_token_priority": 4.25e-06,
        "max_input_tokens": 128000,
        "max_output_tokens": 16384,
    },
    "gemini/gemini-2.5-pro": {
        "litellm_provider": "gemini",
        "input_cost_per_token": 1.25e-06,
        "input_cost_per_token_above_200k_tokens": 2.5e-06,
        "output_cost_per_token": 1e-05,
        "input_cost_per_audio_token": 1e-06,
    },
    "vertex_ai/imagen": {"litellm_provider": "vertex_ai-image-models", "output_cost_per_image": 0.04},
    "whisper-1": {"litellm_provider": "openai", "input_cost_per_second": 0.0001},
    "broken": {"litellm_provider": "openai", "input_cost_per_token": "a lot"},
}


@pytest.fixture
def litellm_file(tmp_path: Path) -> Path:
    path = tmp_path / litellm_list.FILE
    path.write_text(json.dumps(LITELLM))
    return path


def test_litellms_file_is_read_as_data(litellm_file: Path) -> None:
    rows = {row.id: row for row in litellm_list.read(litellm_file)}
    assert sorted(rows) == ["gemini-2.5-pro", "gpt-4o", "imagen"]
    gpt = rows["gpt-4o"]
    assert gpt.rates == {"input": 2_500_000, "output": 10_000_000, "cache_read": 1_250_000}
    assert (gpt.context_window, gpt.max_output_tokens) == (128_000, 16_384)
    assert Price(gpt).variant("batch").cost(MILLION) == 1_250_000_000
    assert Price(gpt).variant("priority").cost(MILLION) == 4_250_000_000
    assert rows["gemini-2.5-pro"].provider == "google"
    assert Price(rows["gemini-2.5-pro"]).cost(MILLION) == 2_500_000_000
    assert Price(rows["imagen"]).cost(Usage(images=2)) == 80_000_000


def test_litellm_adds_models_to_a_refreshed_list_but_replaces_none(litellm_file: Path) -> None:
    known = Row(provider="openai", id="gpt-4o", rates={"input": 1}, source="a", date="2026-01-01")
    listed = PriceList(name="a", date="2026-01-01", rows=(known,))
    more = listed.with_others(
        [*litellm_list.read(litellm_file), Row(provider="openai", id="gpt-new", rates={"input": 5})]
    )
    assert [(row.id, row.rates["input"]) for row in more.rows] == [("gpt-4o", 1), ("gpt-new", 5)]


def test_reading_lists_imports_no_litellm_and_no_genai_prices_and_is_quick() -> None:
    """In a process of its own, because this one may have imported both: 30 ms for the file, five times that in CI."""
    script = """
import sys, time
from apikeyrouter import prices
began = time.perf_counter()
book = prices.load()
assert book.find("openai", "gpt-4o")
took = time.perf_counter() - began
assert not {"litellm", "genai_prices"} & set(sys.modules), sorted(sys.modules)
print(took)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.3


def test_no_http_library_is_half_loaded_by_a_thread_of_ours() -> None:
    """SDKs look for it in `sys.modules`, and break over one that another thread is still loading."""
    script = """
import sys
from apikeyrouter import prices
book = prices.load()
assert "httpx2" not in sys.modules
prices.warm(book)
assert sys.modules["httpx2"].Timeout
"""
    for package in ("genai_prices", "httpx2"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_shelf_lists_its_rows() -> None:
    shelf = Shelf([full_row()], name="n", date="2026-01-01")
    assert [row.id for row in shelf] == ["Model-1"]
    assert len(shelf) == 1
    assert shelf.knows("maker")
    assert not shelf.knows("nobody")


def test_patterns_of_the_library_that_no_glob_can_say() -> None:
    kinds = pytest.importorskip("genai_prices.types", reason="genai-prices is not installed")
    both = kinds.ClauseAnd(and_=[kinds.ClauseStartsWith("Gem"), kinds.ClauseRegex("^(?!.*-tts)")])
    shelf = Shelf([Row(provider="p", id="m", match=tuple(genai_list._patterns(both)))])
    assert shelf.find("p", "gem-1")
    assert shelf.find("p", "gem-1-tts") is None
    assert shelf.find("p", "a-gem") is None
