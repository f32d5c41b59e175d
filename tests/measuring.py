"""A pytest plugin: keeps what coverage has measured when the tests are over.

Coverage itself writes when the process ends. But xdist kills a process that does not end within
ten seconds, and a thread that a test has left can take longer.
"""

import pytest
from coverage import Coverage


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Write what was measured in this process so far."""
    measured = Coverage.current()
    if measured is not None:
        measured.save()
