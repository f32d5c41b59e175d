"""A pytest plugin: which tests one process runs one after the other, where xdist has several.

Those of a file share its services. Files with many tests come first.
"""

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

TOGETHER = (
    "tests/simulation/",  # long: what comes last would keep one process waiting for the other
)


class FolderScheduling(LoadFileScheduling):  # type: ignore[misc]
    """Gives each process whole files, or whole folders."""

    def _split_scope(self, nodeid: str) -> str:
        for folder in TOGETHER:
            if nodeid.startswith(folder):
                return folder
        return str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FolderScheduling | None:
    """Return ours in the place of `--dist loadfile`."""
    return FolderScheduling(config, log) if config.option.dist == "loadfile" else None
