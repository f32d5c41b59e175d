"""The task of the peer DBOS, and how it is set. See `benchmarks/README.md`."""

import os

from dbos import DBOS, DBOSConfig

QUEUE = "noops"

config: DBOSConfig = {
    "name": "bench",
    "system_database_url": os.environ["DATABASE_URL"],
    "executor_id": f"executor-{os.getpid()}",
    "application_version": "1",
    "log_level": "WARNING",
}


@DBOS.workflow(name="noop")
async def noop() -> None:
    """Do nothing."""


def launch(queues: list[str]) -> None:
    """Start DBOS in this process; it takes tasks from these queues."""
    DBOS(config=config)
    DBOS.listen_queues(queues)
    DBOS.launch()
    DBOS.register_queue(
        QUEUE, worker_concurrency=256, polling_interval_sec=0.01, on_conflict="never_update"
    )
