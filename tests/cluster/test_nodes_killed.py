"""A second node is killed or frozen: its attempts run again on another one."""

from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import psutil
import pytest

from tests.cluster.conftest import Service
from tests.cluster.joined_node import family, joined_node
from tests.cluster.processes import (
    begun,
    frozen,
    marks,
    released,
    wait_for_nodes,
    wait_gone,
)
from tests.cluster.recovery import recovering

OPTIONS = ("--resource=elsewhere=2", "--num-gpus=0", "--memory=2GiB", "--labels=zone=elsewhere")
KINDS = ("scripted_elsewhere", "scripted_class_elsewhere")


def node(service: Service, log: Path) -> AbstractContextManager[psutil.Process]:
    """Join a node that can run what only runs elsewhere."""
    return joined_node(service, log, *OPTIONS)


@pytest.mark.slow
def test_nodes_go(service: Service, tmp_path: Path) -> None:
    """One is frozen, the next one killed; each time there is another one."""
    gate = tmp_path / "gate"
    files = {kind: tmp_path / kind for kind in KINDS}
    with released(gate), ExitStack() as nodes:
        first = nodes.enter_context(node(service, tmp_path / "first.log"))
        tasks = [
            service.submit(kind, {"step": "wait_file", "file": str(gate), "mark": str(mark)})
            for kind, mark in files.items()
        ]
        begun_everywhere(files, 1)
        second = nodes.enter_context(node(service, tmp_path / "second.log"))
        victims = family(first)
        with frozen(*victims), recovering("a worker node frozen, with another one there"):
            begun_everywhere(files, 2)
        wait_gone(*victims)  # thawed, it finds that it is dead
        nodes.enter_context(node(service, tmp_path / "third.log"))
        with recovering("a worker node killed, with another one there"):
            for process in family(second):
                process.kill()
            begun_everywhere(files, 3)
        gate.touch()
        for task in tasks:
            done = service.wait(task)
            # One that was handed to a node that had just gone, and never began, was given back.
            ran = [item for item in done["attempts"] if item["outcome"] != "released"]
            outcomes = [attempt["outcome"] for attempt in ran]
            assert (done["state"], outcomes) == ("COMPLETED", ["lost", "lost", "succeeded"])
            places = [attempt["node_id"] for attempt in ran]
            assert len(set(places)) == len(places)
            assert done["crashes"] == 0, "the death of a node was charged"
            kind = done["task_type"]
            assert [number for number, _ in marks(files[kind])] == [item["attempt"] for item in ran]


def begun_everywhere(files: dict[str, Path], times: int) -> None:
    """Wait until all tasks have begun so many times, each time as a later attempt."""
    for mark in files.values():
        begun(mark, attempts=times)
        numbers = [number for number, _ in marks(mark)]
        assert numbers == sorted(set(numbers))
        assert len(numbers) == times


def test_nothing_is_left_of_a_worker_that_is_killed(service: Service, tmp_path: Path) -> None:
    with node(service, tmp_path / "worker.log") as process:
        all_of_it = family(process)
        assert any(one.name() == "raylet" for one in all_of_it)
        process.kill()
        wait_gone(*all_of_it)
    wait_for_nodes(service, 1, tmp_path / "worker.log")
