"""Unique keys in a real service whose tracker is killed: one open task a key."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from raytasks.client import Client
from tests.cluster.conftest import Service
from tests.cluster.processes import TRACKER, kill, only

CLIENTS = 64
KEYS = [300, pytest.param(1000, marks=pytest.mark.slow)]
TIMES = 3
"""How often each key is submitted."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("many", KEYS)
def test_each_key_has_one_open_task(service: Service, tmp_path: Path, many: int) -> None:
    script = {"step": "wait_file", "file": str(tmp_path / "gate")}
    tag = f"rivals-of-{many}"
    keys = [f"key {number}" for number in range(many)] * TIMES
    random.Random(3).shuffle(keys)
    some_are_stored = Event()

    def submit(part: int) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        with Client(service.url) as client:
            for place, key in enumerate(keys[part::CLIENTS]):
                task = client.submit("scripted_single", script, unique={"key": key}, tags=[tag])
                found.setdefault(key, set()).add(task["task_id"])
                if place == 5:
                    some_are_stored.set()
        return found

    with ThreadPoolExecutor(CLIENTS) as threads:
        answers = [threads.submit(submit, part) for part in range(CLIENTS)]
        assert some_are_stored.wait(60)
        kill(only(service, TRACKER))
        told: dict[str, set[str]] = {}
        for answer in answers:
            for key, ids in answer.result(120).items():
                told.setdefault(key, set()).update(ids)
    with Client(service.url) as client:
        stored = Counter(task["unique"]["key"] for task in client.tasks(tag=tag) if task["unique"])
        assert set(stored.values()) == {1}
        assert len(stored) == many == len(told)
        assert all(len(ids) == 1 for ids in told.values())
        bulk = client.bulk_cancel(tag=tag)
        (tmp_path / "gate").touch()
        client.bulk_wait(bulk["bulk_id"])
