"""A service with everything that the page shows, and a browser, both shared by a module's tests."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.web.browsing import Opened, Visitor, launched, why_not
from tests.web.filled_service import FilledService, filled_service


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium."""
    if reason := why_not():
        pytest.skip(reason)
    with launched() as browser:
        yield browser


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
