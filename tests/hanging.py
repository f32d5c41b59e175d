"""A pytest plugin: what hangs ends the run within minutes, with the stacks of all threads.

pytest-timeout fails a test that takes too long, by a signal. Code that swallows the signal's
exception is ended by pytest's own `faulthandler_timeout` (pyproject.toml). This plugin covers what
is outside of tests: a controller that waits for its workers, and a process that does not end.
"""

import faulthandler
import os
import sys

import pytest

SILENT_SECONDS = 1000
"""How long the controller may hear nothing of the processes that run its tests."""

ENDING_SECONDS = 60
"""How long a process may take to end after its last test."""


class Guard:
    """Ends this process, with the stacks of all threads on its standard error."""

    def __init__(self, *, is_controller: bool) -> None:
        self._is_controller = is_controller
        # A copy: pytest takes the streams of the process for itself while it runs tests.
        self._errors = os.dup(sys.__stderr__.fileno() if sys.__stderr__ else 2)

    def pytest_runtest_logreport(self) -> None:
        """Wait for the next report. A process that runs tests itself has pytest's own limit."""
        if self._is_controller:
            self._end_after(SILENT_SECONDS)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Wait for the end of the process: a thread that is left must not keep it for ever."""
        self._end_after(ENDING_SECONDS)

    def _end_after(self, seconds: float) -> None:
        faulthandler.dump_traceback_later(seconds, exit=True, file=self._errors)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the guard; not in a worker, which has to wait until its controller ends it."""
    if hasattr(config, "workerinput"):
        return
    is_controller = config.pluginmanager.hasplugin("dsession")
    config.pluginmanager.register(Guard(is_controller=is_controller), "raytasks-hanging")
