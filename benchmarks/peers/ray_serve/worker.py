"""Deploys the consumers of the peer Ray Serve with Celery into the cluster that runs."""

import os
import signal
from pathlib import Path

import ray
from ray import serve
from ray.serve.task_consumer import task_consumer, task_handler
from tasks import config


@serve.deployment(num_replicas=2, max_ongoing_requests=8)
@task_consumer(task_processor_config=config)
class Consumer:
    """Runs tasks."""

    @task_handler(name="noop")
    def noop(self) -> None:
        """Do nothing."""


if __name__ == "__main__":
    ray.init(address=Path(os.environ["PEER_ADDRESS_FILE"]).read_text(), log_to_driver=False)
    serve.run(Consumer.bind(), name="consumer", route_prefix=None)
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
