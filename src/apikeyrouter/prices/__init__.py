"""Which price lists there are, and the book made of them.

Prices change weekly and no list is always right, so several are read and each row keeps its source and date: a file the
user refreshed, the list shipped with the package, genai-prices where installed (extra `prices`), and the file inside
litellm where that is installed. The first three are tried newest first and set the price; litellm's may only raise what
is held. Lists are read when they are first needed: importing this module reads none. Arithmetic is `core.price`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock, Thread
from typing import Final

from apikeyrouter.core.price import PriceBook, Shelf
from apikeyrouter.errors import InvalidConfigurationError
from apikeyrouter.prices import genai_list, listfile, litellm_list
from apikeyrouter.prices.listfile import PriceList

__all__ = ["SHIPPED", "PriceList", "file_of", "load", "refresh", "shipped", "warm"]

SHIPPED: Final = Path(__file__).parents[1] / "data" / "prices" / "list.json"

_READING: Final = Lock()


def load(*, local: Path | None = None, installed: bool = True, today: date | None = None) -> PriceBook:
    """A book of all lists: `local` (a file written by `refresh`), the shipped one and, if `installed`, the others.

    Raises InvalidConfigurationError for a local file that is not a price list.
    """
    day = today or datetime.now(UTC).date()
    own = shipped(day)
    shelves: list[Shelf | Callable[[], Shelf]] = [own]
    if installed and (release := _version("genai-prices")):
        newer = _numbers(release) > _numbers(own.name.rpartition(" ")[2])
        shelves.insert(0 if newer else 1, partial(_genai, day))
    if local is not None and local.exists():
        refreshed = listfile.shelf(listfile.read(local), day)
        shelves.insert(0 if refreshed.date >= own.date else len(shelves), refreshed)
    witnesses = [partial(_litellm, found)] if installed and (found := litellm_list.find()) else []
    return PriceBook(shelves, witnesses)


def file_of(name: str) -> Path | None:
    """The price list a configuration names. Raises InvalidConfigurationError where there is none."""
    if name and not Path(name).exists():
        raise InvalidConfigurationError(
            f"The price list {name} is not there; `apikeyrouter prices refresh {name}` writes it."
        )
    return Path(name) if name else None


@lru_cache(maxsize=2)
def shipped(today: date) -> Shelf:
    """The list that comes with the package; read once for all books of a day."""
    return listfile.shelf(listfile.read(SHIPPED), today)


def refresh(
    path: Path, *, providers: Iterable[str] | None = None, litellm: bool = True, today: date | None = None
) -> PriceList:
    """Write a dated list of what the installed sources say to `path`, and return it.

    `providers` limits it to some. litellm's file adds the models that genai-prices does not know.
    Raises MissingDependencyError where genai-prices is not installed.
    """
    day = today or datetime.now(UTC).date()
    fresh = genai_list.read(day, providers)
    if litellm and (found := litellm_list.find()):
        fresh = fresh.with_others(litellm_list.read(found))
    listfile.write(path, fresh)
    return fresh


def warm(book: PriceBook) -> None:
    """Read all lists of a book aside, so that no request has to; one that comes sooner waits for the same reading."""
    genai_list.ahead()
    Thread(target=book.shelves, name="apikeyrouter-prices", daemon=True).start()


def _genai(day: date) -> Shelf:
    with _READING:
        return _genai_read(day)


def _litellm(found: Path) -> Shelf:
    with _READING:
        return _litellm_read(found)


@lru_cache(maxsize=2)
def _genai_read(day: date) -> Shelf:
    return listfile.shelf(genai_list.read(day), day)


@lru_cache(maxsize=2)
def _litellm_read(found: Path) -> Shelf:
    return Shelf(litellm_list.read(found), name="litellm", date=litellm_list.dated(found))


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # 30 ms: only for those who load a book

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split(".") if part.isdigit())
