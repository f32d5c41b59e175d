"""Submissions while the database is away: tried until the service says what is expected."""

import time
from typing import Any

import httpx

from tests.cluster.conftest import Service
from tests.cluster.processes import PATIENCE_SECONDS


def is_refused(service: Service) -> httpx.Response:
    """Submit until it is refused, and return that answer."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        answer = service.http.post("/tasks/", json={"task_type": "noop", "payload": {}})
        if answer.status_code == 503:
            return answer
        assert time.monotonic() < deadline
        time.sleep(0.05)


def submitted_again(service: Service) -> dict[str, Any]:
    """Submit until it is accepted."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        answer = service.http.post("/tasks/", json={"task_type": "noop", "payload": {}})
        if answer.status_code == 202:
            task: dict[str, Any] = answer.json()
            return task
        assert answer.status_code == 503, answer.text
        assert time.monotonic() < deadline
        time.sleep(0.05)
