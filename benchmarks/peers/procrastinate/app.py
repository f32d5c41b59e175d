"""The HTTP front of the peer Procrastinate."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import tasks
from fastapi import FastAPI, Query
from procrastinate.jobs import Status

_POLL_SECONDS = 0.001
_BATCH = 1000


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Keep the connections open."""
    async with tasks.app.open_async():
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/tasks/", status_code=202)
async def submit() -> dict[str, str]:
    """Submit a task."""
    return {"task_id": str(await tasks.noop.defer_async())}


@app.get("/tasks/{task_id}")
async def get(task_id: int, wait: float = 0) -> dict[str, str]:
    """Ask for a task's status until it has ended: there is no way to wait for it."""
    until = time.monotonic() + wait
    while True:
        status = await tasks.app.job_manager.get_job_status_async(task_id)
        if status is Status.SUCCEEDED:
            return {"state": "COMPLETED"}
        if time.monotonic() > until:
            return {"state": "PENDING"}
        await asyncio.sleep(_POLL_SECONDS)


@app.post("/fill")
async def fill(number: Annotated[int, Query(alias="tasks")]) -> None:
    """Queue tasks."""
    for first in range(0, number, _BATCH):
        await tasks.noop.batch_defer_async(*[{} for _ in range(min(_BATCH, number - first))])


@app.get("/completed")
async def completed() -> dict[str, int]:
    """Return how many jobs have succeeded."""
    row = await tasks.app.connector.execute_query_one_async(
        "SELECT count(*) AS jobs FROM procrastinate_jobs WHERE status = 'succeeded'"
    )
    return {"completed": row["jobs"]}
