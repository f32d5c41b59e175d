"""Makes each commit of raytasks' writer slower: Python imports this at its start, by its name.

Only where this folder is on PYTHONPATH, and BENCHMARK_COMMIT_DELAY_MS is set. Nothing in the
product knows of it. What is slowed down is the commit of the engine that writes, the one with a
single connection: a disk that takes its time to sync does not hold up who only reads.
"""

import os
import time
from typing import Any

_DELAY_SECONDS = float(os.environ.get("BENCHMARK_COMMIT_DELAY_MS", "0")) / 1000


def _install() -> None:
    from sqlalchemy import Engine, event

    @event.listens_for(Engine, "commit")
    def _wait(connection: Any) -> None:
        if connection.engine.pool.size() == 1:
            time.sleep(_DELAY_SECONDS)


if _DELAY_SECONDS:
    _install()
