"""`GET /metrics`: who may read it, and what it counts."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from raytasks.api.metrics_routes import KEPT_SECONDS, Rendered
from raytasks.model.tasks import StoreUnavailable
from raytasks.tracker.retention import Retention
from tests.keyring import bearer, locked
from tests.local_service import Api, LocalService, serving
from tests.metrics_check import Series, check_no_fall, check_sums, scraped
from tests.tracking import wait_final


async def scrape(api: Api) -> Series:
    """Return what the service shows now. A kept answer is not waited for, but left out."""
    await asyncio.sleep(KEPT_SECONDS)
    response = await api.client.get("/metrics")
    assert response.status_code == 200, response.text
    return scraped(response.text)


def value(series: Series, name: str, **labels: str) -> float:
    return series[f"raytasks_{name}", tuple(sorted(labels.items()))]


async def test_what_has_happened_is_counted(api: Api) -> None:
    first = await scrape(api)
    assert value(first, "store_up") == value(first, "epoch") == 1.0
    tasks = [
        await api.submit(),
        await api.submit(payload={"step": "permanent"}),
        await api.submit(payload={"step": "fail"}, max_attempts=1),
    ]
    for task in tasks:
        await api.finished(task)
    await api.client.post(f"/tasks/{tasks[1]['task_id']}/retry")
    await api.finished(tasks[1])
    nothing_waits = await scrape(api)
    assert value(nothing_waits, "oldest_due_seconds", task_type="scripted") == 0.0
    later = await api.submit(delay_seconds=60)
    of = {"namespace": "default", "task_type": "scripted"}
    found = await scrape(api)
    check_no_fall(first, found)
    check_sums(found)
    for name, labels, number in (
        ("tasks_submitted_total", {}, 4),
        ("tasks_retried_total", {}, 1),
        ("tasks_finished_total", {"state": "COMPLETED"}, 1),
        ("tasks_finished_total", {"state": "FAILED"}, 3),
        ("tasks_finished_total", {"state": "CANCELLED"}, 0),
        ("attempts_total", {"outcome": "succeeded"}, 1),
        ("attempts_total", {"outcome": "failed"}, 3),
        ("attempts_total", {"outcome": "lost"}, 0),
        ("tasks", {"state": "PENDING"}, 1),
        ("tasks", {"state": "FAILED"}, 2),
    ):
        assert value(found, name, **of, **labels) == number, (name, labels)
    assert value(found, "oldest_due_seconds", task_type="scripted") == 0.0
    assert value(found, "runners", pool="shared", state="idle") == 1.0
    await api.client.post(f"/tasks/{later['task_id']}/cancel")
    assert value(await scrape(api), "tasks_finished_total", **of, state="CANCELLED") == 1


async def test_the_histograms_follow_within_seconds(api: Api) -> None:
    for _ in range(3):
        await api.finished(await api.submit(payload={"step": "sleep", "seconds": 0.03}))
    of = {"namespace": "default", "task_type": "scripted"}
    async with asyncio.timeout(20):
        while value(found := await scrape(api), "run_seconds_count", **of) < 3:
            pass
    assert 0.09 <= value(found, "run_seconds_sum", **of) < 10
    assert value(found, "run_seconds_bucket", **of, le="0.025") == 0
    assert value(found, "queue_wait_seconds_count", **of) == 3
    assert value(found, "tick_seconds_count") >= value(found, "commit_seconds_count") > 0


async def test_they_survive_the_tracker_and_the_pruning(sqlite_url: str, tmp_path: Path) -> None:
    async with serving(LocalService(sqlite_url, tmp_path), runner=True) as api:
        for step in ("", "permanent"):
            task = await api.submit(payload={"step": step} if step else {})
            await wait_final(api.service.tracker, task["task_id"], 20)
        before = await scrape(api)
    service = LocalService(sqlite_url, tmp_path)
    async with serving(service, runner=False) as api:
        after = await scrape(api)
        check_no_fall(before, after)
        retention = Retention(
            service.tracker, lambda _: None, seconds=-60.0, clock=service.tracker._clock
        )
        assert await retention.prune() == 2
        pruned = await scrape(api)
    check_no_fall(after, pruned)
    assert check_sums(pruned) == check_sums(after)
    of = {"namespace": "default", "task_type": "scripted"}
    assert value(after, "tasks", **of, state="COMPLETED") == 1
    assert value(pruned, "tasks", **of, state="COMPLETED") == 0


async def test_only_a_reader_of_the_whole_service_may(sqlite_url: str, tmp_path: Path) -> None:
    async with locked(sqlite_url, tmp_path) as api:
        for name, status in (("r", 200), ("a", 200), ("s", 403), ("b", 403), ("x", 401)):
            response = await api.client.get("/metrics", headers=bearer(name))
            assert response.status_code == status, (name, response.text)
        assert (await api.client.get("/metrics")).status_code == 401


async def test_openmetrics_on_request(api: Api) -> None:
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    response = await api.client.get("/metrics", headers=accept)
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")
    plain = await api.client.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")


async def test_an_answer_is_kept_for_a_second(api: Api) -> None:
    now = 100.0
    rendered = Rendered(api.service.backend, lambda: now)
    first = await rendered.text("")
    assert api.service.backend.calls["Metrics"] == 1
    await api.submit()
    assert await rendered.text("") is first
    now += KEPT_SECONDS
    assert await rendered.text("") != first
    assert api.service.backend.calls["Metrics"] == 2
    api.service.backend.failure = StoreUnavailable("away")
    assert await rendered.text("*/*") == await rendered.text("")
    now += KEPT_SECONDS
    for _ in range(2):  # nothing old is shown
        with pytest.raises(StoreUnavailable):
            await rendered.text("")


async def test_without_the_database_it_says_so(api: Api, monkeypatch: Any) -> None:
    monkeypatch.setattr(api.service.tracker.ticker.access, "trouble", lambda: "gone")
    assert value(await scrape(api), "store_up") == 0.0


async def test_the_oldest_due_task_is_measured(idle_api: Api) -> None:
    await idle_api.submit()
    await asyncio.sleep(0.3)
    found = await scrape(idle_api)
    assert 1.0 <= value(found, "oldest_due_seconds", task_type="scripted") < 30
