"""The task of the peer Celery, and how it is set. See `benchmarks/README.md`."""

import os

from celery import Celery

URL = os.environ["REDIS_URL"]

queue = Celery("bench", broker=f"{URL}/0", backend=f"{URL}/1")
queue.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=64,
    broker_connection_retry_on_startup=True,
)


@queue.task
def noop() -> None:
    """Do nothing."""
