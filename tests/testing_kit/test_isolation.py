"""Submissions of a test and its handlers go to the test's queue, and never to a cluster."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import raytasks
from raytasks import handler
from raytasks.driver import submit as driver
from raytasks.testing import Queue, run_handler


@handler("child")
def child(payload: dict) -> str:
    return f"child of {payload['parent']}"


@handler("parent")
def parent(payload: dict, context: raytasks.Context) -> list[str]:
    one = raytasks.submit("child", {"parent": context.task_id})
    two = raytasks.submit_many([{"task_type": "child", "payload": {"parent": "x"}}])
    return [one.id, *(task.id for task in two)]


@handler("async_parent")
async def async_parent(payload: dict) -> str:
    return (await raytasks.submit_async("child", {"parent": "async"}, delay_seconds=5)).id


@handler("waiting_parent")
def waiting_parent(payload: dict) -> Any:
    return raytasks.submit("child", {"parent": "x"}).wait()


ALL: list[Callable[..., Any]] = [child, parent, async_parent, waiting_parent]


def test_a_handler_submits_to_the_queue_that_runs_it() -> None:
    with Queue(ALL) as queue, Queue([child]):
        task = queue.submit("parent", {})
        queue.run_until_idle()
        assert [queue.get(name)["state"] for name in task.result] == ["COMPLETED"] * 2
        assert queue.get(task.result[0])["result"] == f"child of {task.task_id}"


def test_an_async_handler_too_and_by_the_clock_of_the_queue() -> None:
    with Queue(ALL) as queue:
        task = queue.submit("async_parent", {})
        begin = queue.clock()
        queue.run_until_idle()
        assert queue.get(task.result)["state"] == "COMPLETED"
        assert queue.clock() == begin + 5


def test_a_program_submits_to_the_queue_and_waits_on_its_clock() -> None:
    with Queue(ALL) as queue:
        begin = queue.clock()
        task = raytasks.submit("child", {"parent": "me"}, delay_seconds=60)
        assert task.wait() == "child of me"
        assert queue.clock() == begin + 60


def test_a_handler_that_waits_is_told_that_it_cannot_here() -> None:
    with Queue(ALL) as queue:
        task = queue.submit("waiting_parent", {}, max_attempts=1)
        queue.run_due()
        assert task.error is not None
        assert "nor wait for them" in task.error["message"]


def test_without_a_queue_it_is_told() -> None:
    run = run_handler(parent, {})
    assert run.error is not None
    assert "within run_handler there is no queue" in run.error.message


def test_run_handler_beside_a_queue_submits_to_it() -> None:
    with Queue(ALL) as queue:
        names = run_handler(parent, {}).result
        queue.run_until_idle()
        assert queue.get(names[0])["state"] == "COMPLETED"


def test_all_is_as_before_when_the_queues_are_closed() -> None:
    before = os.environ.get("RAY_ENABLE_AUTO_CONNECT")
    first, second = Queue([child]), Queue([child])
    assert os.environ["RAY_ENABLE_AUTO_CONNECT"] == "0"
    first.close()
    assert os.environ["RAY_ENABLE_AUTO_CONNECT"] == "0"
    assert driver.stood_in()
    second.close()
    second.close()
    assert os.environ.get("RAY_ENABLE_AUTO_CONNECT") == before
    assert not driver.stood_in()


_SCRIPT = """
import sys
import raytasks
from raytasks import handler
from raytasks.testing import Queue

@handler("child")
def child(payload: dict) -> int:
    return 1

@handler("joins")
def joins(payload: dict) -> None:
    {import_first}
    import ray
    ray.get_actor("raytasks.tracker", "raytasks")

{before}
with Queue([child, joins]) as queue:
    assert raytasks.submit("child", {{}}).wait() == 1
    assert "ray" not in sys.modules or {ray_is_there}
    task = queue.submit("joins", {{}}, max_attempts=1)
    queue.run_due()
    print(task.error["type"], task.error["message"][:60])
import ray._private.auto_init_hook
print(ray.is_initialized(), ray._private.auto_init_hook.enable_auto_connect)
"""


@pytest.mark.parametrize("before", ["", "import ray"])
def test_a_handler_that_would_join_a_cluster_fails(before: str) -> None:
    script = _SCRIPT.format(import_first="", before=before, ray_is_there=bool(before))
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    first, second = done.stdout.splitlines() or [done.stderr, ""]
    assert "Ray has not been started yet" in first or "ConnectionError" in first, done.stderr
    assert second == "False True"
