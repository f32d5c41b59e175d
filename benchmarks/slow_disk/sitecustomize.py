"""Makes each commit of raytasks' writer slower: Python imports this at its start, by its name.

It does so only where this folder is on PYTHONPATH, and BENCHMARK_COMMIT_DELAY_MS is set. Nothing in
the product knows of it. Only the engine that writes, with its single connection, is slowed down: a
disk that is slow to sync does not hold up reads.
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
