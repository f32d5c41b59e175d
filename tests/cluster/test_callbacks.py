"""Callbacks of a real service: each end arrives, also if the tracker is killed meanwhile."""

import pytest

from tests.callback_receiver import Answer, receiving
from tests.cluster.conftest import CALLBACK_SECRET, Service
from tests.cluster.processes import TRACKER, kill, only

MANY = 1000
BATCH = 500
FAILING = 50


@pytest.mark.timeout(400)
def test_each_end_arrives_although_the_tracker_is_killed(calling_service: Service) -> None:
    """The first answers are errors, so those callbacks come again, with the same id."""
    service = calling_service
    with receiving(CALLBACK_SECRET) as receiver:

        def answer(number: int, _path: str) -> Answer:
            return (503, {}, b"busy") if number < FAILING else (204, {}, b"")

        receiver.answer = answer
        task = {"task_type": "noop", "payload": {}, "callback_url": receiver.url}
        accepted: set[str] = set()
        for _ in range(MANY // BATCH):
            made = service.http.post("/tasks/batch", json={"tasks": [task] * BATCH})
            assert made.status_code == 202, made.text
            accepted |= {item["task_id"] for item in made.json()["tasks"]}
        receiver.wait_for(lambda: len(receiver.ids) > FAILING)
        former = only(service, TRACKER)
        kill(former)
        receiver.wait_for(lambda: len(set(receiver.ids[FAILING:])) == MANY)
        assert receiver.faults == []
        assert set(receiver.parents) == accepted
        assert len(set(receiver.ids)) == MANY
        assert set(receiver.ids[:FAILING]) <= set(receiver.ids[FAILING:])
        assert only(service, TRACKER).pid != former.pid
        for parent in sorted(accepted)[:3]:
            found = service.get({"task_id": parent})
            assert found["callback_task_id"] in receiver.ids
        counts = service.http.get("/stats").json()["counts"]["by_type"]
        assert counts["noop"] == {"COMPLETED": MANY}
        secret = CALLBACK_SECRET.removeprefix("whsec_")
        for log in service.log.parent.rglob("*.log"):
            assert secret not in log.read_text(errors="replace")
