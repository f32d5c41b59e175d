"""The HTTP front of the peer DBOS, which also runs what is submitted over HTTP."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import psycopg
import tasks
from dbos import DBOS
from fastapi import FastAPI, Query

_BATCH = 50
started: dict[str, Any] = {}


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Run DBOS in this process."""
    await asyncio.to_thread(tasks.launch, [])
    yield
    DBOS.destroy()


app = FastAPI(lifespan=lifespan)


@app.post("/tasks/", status_code=202)
async def submit() -> dict[str, str]:
    """Start a workflow. It is on disk when the call returns, and is taken up again if this dies."""
    handle = await DBOS.start_workflow_async(tasks.noop)
    started[handle.workflow_id] = handle
    return {"task_id": handle.workflow_id}


@app.get("/tasks/{task_id}")
async def get(task_id: str, wait: float = 0) -> dict[str, str]:
    """Wait for the workflow by the handle of its start, in the process where it runs."""
    async with asyncio.timeout(wait):
        await started[task_id].get_result()
    return {"state": "COMPLETED"}


@app.post("/fill")
async def fill(number: Annotated[int, Query(alias="tasks")]) -> None:
    """Queue tasks, for the workers."""
    for first in range(0, number, _BATCH):
        enqueued = [
            DBOS.enqueue_workflow_async(tasks.QUEUE, tasks.noop)
            for _ in range(min(_BATCH, number - first))
        ]
        await asyncio.gather(*enqueued)


@app.get("/completed")
def completed() -> dict[str, int]:
    """Return how many workflows have succeeded."""
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        row = connection.execute(
            "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'"
        ).fetchone()
    return {"completed": row[0] if row else 0}
