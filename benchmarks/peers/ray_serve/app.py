"""The HTTP front of the peer Ray Serve with Celery: `app.py PORT`, until SIGINT."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import ray
from fastapi import FastAPI
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.task_consumer import instantiate_adapter_from_config
from redis import Redis
from tasks import AS_DOCUMENTED, URL, config

_POLL_SECONDS = 0.001

app = FastAPI()


@serve.deployment(ray_actor_options={"num_cpus": 0}, max_ongoing_requests=1000)
@serve.ingress(app)
class Front:
    """One replica that enqueues."""

    def __init__(self) -> None:
        self._adapter = instantiate_adapter_from_config(config)
        self._results = Redis.from_url(f"{URL}/1")

    if AS_DOCUMENTED:

        @app.post("/tasks/", status_code=202)
        def submit(self) -> dict[str, str]:
            """Submit a task."""
            return {"task_id": self._adapter.enqueue_task_sync("noop").id}

    else:

        @app.post("/tasks/", status_code=202)
        async def submit(self) -> dict[str, str]:
            """Submit a task. The call blocks for less than a hop to a thread would take."""
            return {"task_id": self._adapter.enqueue_task_sync("noop").id}

    @app.get("/tasks/{task_id}")
    async def get(self, task_id: str, wait: float = 0) -> dict[str, str]:
        """Ask for a task's status until it has ended: the adapter has no way to wait for it."""
        until = time.monotonic() + wait
        while self._adapter.get_task_status_sync(task_id).status != "SUCCESS":
            if time.monotonic() > until:
                return {"state": "PENDING"}
            await asyncio.sleep(_POLL_SECONDS)
        return {"state": "COMPLETED"}

    @app.post("/fill")
    def fill(self, tasks: int) -> None:
        """Queue tasks."""
        for _ in range(tasks):
            self._adapter.enqueue_task_sync("noop")

    @app.get("/completed")
    async def completed(self) -> dict[str, int]:
        """Return how many results there are: the database has nothing else in it."""
        return {"completed": self._results.dbsize()}


def main() -> None:
    """Serve, and write the cluster's address to a file, for the worker."""
    ray.init(address="local", log_to_driver=False)
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=int(sys.argv[1])))
    serve.run(Front.bind(), name="front", route_prefix="/")
    Path(os.environ["PEER_ADDRESS_FILE"]).write_text(ray.get_runtime_context().gcs_address)
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
