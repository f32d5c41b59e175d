"""The HTTP front of the peer Dramatiq."""

from collections import Counter

from dramatiq.results import ResultTimeout
from fastapi import FastAPI
from tasks import broker, noop

app = FastAPI()
sent: Counter[str] = Counter()


@app.post("/tasks/", status_code=202)
async def submit() -> dict[str, str]:
    """Submit a task. The call blocks for less than a hop to a thread would take."""
    return {"task_id": _send()}


@app.get("/tasks/{task_id}")
def get(task_id: str, wait: float = 0) -> dict[str, str]:
    """Wait for a task's result, in a thread, as Dramatiq's results block."""
    message = noop.message().copy(message_id=task_id)
    try:
        message.get_result(block=True, timeout=int(1000 * wait))
    except ResultTimeout:
        return {"state": "PENDING"}
    return {"state": "COMPLETED"}


@app.post("/fill")
def fill(tasks: int) -> None:
    """Queue tasks."""
    for _ in range(tasks):
        _send()


@app.get("/completed")
def completed() -> dict[str, int]:
    """Return how many messages are gone: one that is not acknowledged is still there."""
    return {"completed": sent.total() - broker.client.hlen(f"dramatiq:{noop.queue_name}.msgs")}


def _send() -> str:
    sent["noop"] += 1
    return noop.send().message_id
