"""A browser that all these modules share, and a service for the tests of each module."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.web.browsing import Opened, Visitor, launched, why_not
from tests.web.filled_service import FilledService, filled_service


class KeptBrowser:
    """A browser that is started when it is needed, and kept for the next module."""

    def __init__(self) -> None:
        self._opened = contextlib.ExitStack()
        self._browser: Any = None

    def get(self) -> Any:
        """Return the browser."""
        if self._browser is None:
            self._browser = self._opened.enter_context(launched())
        return self._browser

    def close(self) -> None:
        """End the browser, if there is one."""
        self._browser = None
        self._opened.close()


KEPT = KeptBrowser()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """End the browser before a test of another folder: Playwright has an event loop of its own."""
    if nextitem is None or Path(__file__).parent not in nextitem.path.parents:
        KEPT.close()


@pytest.fixture(scope="module")
def browser() -> Any:
    """Debian's Chromium."""
    if reason := why_not():
        pytest.skip(reason)
    return KEPT.get()


@pytest.fixture(scope="module")
def filled(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FilledService]:
    """A service with keys, and tasks in all states."""
    folder = tmp_path_factory.mktemp("filled")
    url = f"sqlite:///{shutil.copy(sqlite_template, folder / 'tasks.db')}"
    with filled_service(url, folder) as service:
        yield service


@pytest.fixture(scope="module")
def visitor(browser: Any, filled: FilledService) -> Iterator[Visitor]:
    """One who opens the page."""
    visitor = Visitor(browser, filled.url)
    yield visitor
    visitor.close()


@pytest.fixture
def visit(visitor: Visitor) -> Iterator[Callable[..., Opened]]:
    """Open the page, with a key of `tests.keyring`, or without one.

    At the end no page may have asked another origin, or written an error to its console.
    """
    yield visitor.open
    visitor.leave()


@pytest.fixture
def http(filled: FilledService) -> Iterator[httpx.Client]:
    """A client of the service, with a key for everything."""
    with filled.client("a") as client:
        yield client
