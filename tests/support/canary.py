"""Every key of a test run is a canary: its material may be nowhere but in a credential header.

Whatever becomes a `Secret` during the run is remembered, and so is what the `canary` fixture hands out. Logs, captured
output, warnings and the texts and details of our own exceptions are searched for it, whether or not a test looks at
them; tests that use the fixture also have the repr of every living object of the package searched. A find fails the
test it happened in, and never shows what it found.
"""

from __future__ import annotations

import gc
import logging
import secrets
import traceback
from collections.abc import Callable, Generator, Iterator
from typing import Any, Final

import pytest

from apikeyrouter.credentials import Secret
from apikeyrouter.errors import ApiKeyRouterError, ConfigurationError

LEAST: Final = 20
"""Characters of a material that no other text has by chance."""
PACKAGE: Final = "apikeyrouter"
PROVIDERS_SIDE: Final = ("apikeyrouter.simulator", "apikeyrouter.testing")
"""What plays the provider knows the keys of its customers."""


class Canaries(logging.Handler):
    """The materials of a run, where they were seen, and the hooks that look."""

    def __init__(self) -> None:
        super().__init__(level=logging.NOTSET)
        self.materials: set[str] = set()
        self.found: list[str] = []
        self._undo: list[Callable[[], None]] = []

    def new(self) -> str:
        """Fresh material in the shape of a real key's."""
        material = f"sk-canary-{secrets.token_urlsafe(30)}"
        self.materials.add(material)
        return material

    def look(self, text: str, where: str) -> None:
        """Search a text; a find is noted by its place alone."""
        if any(material in text for material in self.materials):
            self.found.append(where)

    def take_found(self) -> list[str]:
        found, self.found = self.found, []
        return found

    # -- where to look --------------------------------------------------------------------------------------------

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("apikeyrouter.") or self.materials:
            told = [record.getMessage(), repr(record.args), repr(vars(record))]
            if record.exc_info and record.exc_info[1] is not None:
                told += traceback.format_exception(record.exc_info[1])
            self.look("\n".join(told), f"a log record of {record.name}")

    def watch_errors(self) -> None:
        """Look at each of our errors as it is made, because tests catch most of them.

        Those of the configuration quote what somebody wrote in a wrong place; whoever reads a file decides what of it
        is shown (tests/config/test_secrets.py).
        """
        original: Any = ApiKeyRouterError.__init__
        canaries = self

        def noticed(error: ApiKeyRouterError, message: str, *rest: Any, **more: Any) -> None:
            original(error, message, *rest, **more)
            if not isinstance(error, ConfigurationError):
                canaries.look(f"{error} {error.details!r}", f"a {type(error).__name__}")

        setattr(ApiKeyRouterError, "__init__", noticed)  # noqa: B010  (typed as what it replaces)
        self._undo.append(lambda: setattr(ApiKeyRouterError, "__init__", original))

    def watch_secrets(self) -> None:
        original: Any = Secret.__init__
        canaries = self

        def noticed(secret: Secret, text: str, *rest: Any, **more: Any) -> None:
            original(secret, text, *rest, **more)
            if len(text) >= LEAST and len(set(text)) > LEAST // 2:
                canaries.materials.add(text)

        setattr(Secret, "__init__", noticed)  # noqa: B010  (typed as what it replaces)
        self._undo.append(lambda: setattr(Secret, "__init__", original))

    def look_at_living_objects(self) -> None:
        """The repr of everything of ours that is alive."""
        for thing in gc.get_objects():
            home = str(getattr(type(thing), "__module__", ""))
            if home.startswith(f"{PACKAGE}.") and not home.startswith(PROVIDERS_SIDE):
                self.look(repr(thing), f"the repr of a {type(thing).__name__}")

    # -- hooks of pytest ------------------------------------------------------------------------------------------

    def pytest_configure(self, config: pytest.Config) -> None:
        self.watch_errors()
        self.watch_secrets()
        logging.getLogger().addHandler(self)

    def pytest_unconfigure(self, config: pytest.Config) -> None:
        logging.getLogger().removeHandler(self)
        for undo in self._undo:
            undo()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        for name, captured in report.sections:
            self.look(captured, name)
        found = self.take_found()
        if found:
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid}: a key's material shows in {', '.join(sorted(set(found)))}."
        return report

    @pytest.fixture
    def canary(self) -> Iterator[Callable[[], str]]:
        """Makes key material that must not be seen anywhere."""
        yield self.new
        self.look_at_living_objects()
