"""The HTTP front of the peer Celery."""

from celery.exceptions import TimeoutError as NotInTime
from fastapi import FastAPI
from redis import Redis
from tasks import URL, noop, queue

app = FastAPI()
results = Redis.from_url(f"{URL}/1")


@app.post("/tasks/", status_code=202)
async def submit() -> dict[str, str]:
    """Submit a task. The call blocks for less than a hop to a thread would take."""
    return {"task_id": noop.delay().id}


@app.get("/tasks/{task_id}")
def get(task_id: str, wait: float = 0) -> dict[str, str]:
    """Wait for a task's result, in a thread, as Celery's clients block."""
    try:
        queue.AsyncResult(task_id).get(timeout=wait)
    except NotInTime:
        return {"state": "PENDING"}
    return {"state": "COMPLETED"}


@app.post("/fill")
def fill(tasks: int) -> None:
    """Queue tasks."""
    for _ in range(tasks):
        noop.delay()


@app.get("/completed")
def completed() -> dict[str, int]:
    """Return how many results there are: the database has nothing else in it."""
    return {"completed": results.dbsize()}
