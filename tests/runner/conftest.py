"""The concurrent bench of a test's handlers, and the event for which what hangs waits."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runner.concurrent_bench import ConcurrentBench


@pytest.fixture
def bench(sqlite_url: str, tmp_path: Path) -> Callable[..., ConcurrentBench]:
    """Make the bench of a tracker and a concurrent runner for some handlers."""

    def make(*targets: Callable[..., Any]) -> ConcurrentBench:
        return ConcurrentBench(sqlite_url, tmp_path, *targets)

    return make


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """The event for which a thread waits that hangs; it is set at the end."""
    gate = threading.Event()
    yield gate
    gate.set()
