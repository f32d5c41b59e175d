"""`GET /stats`: counts and windows."""

import pytest

from tests.local_service import Api


async def test_before_anything_has_happened(api: Api) -> None:
    found = (await api.client.get("/stats")).json()
    assert found["namespace"] == "default"
    assert set(found["counts"]["by_state"].values()) == {0}
    assert len(found["counts"]["by_state"]) == 6
    assert found["counts"]["by_type"] == found["by_type"] == {}
    nothing = {
        "completed": 0,
        "failed": 0,
        "failure_rate": None,
        "per_second": 0.0,
        "queue_wait": None,
        "run_time": None,
    }
    assert found["windows"] == {
        "minute": {"seconds": 60, **nothing},
        "hour": {"seconds": 3600, **nothing},
        "day": {"seconds": 86400, **nothing},
    }


async def test_what_has_happened_is_counted_and_measured(api: Api) -> None:
    tasks = [
        await api.submit(),
        await api.submit(task_type="noop"),
        await api.submit(payload={"step": "permanent"}),
    ]
    for task in tasks:
        await api.finished(task)
    delayed = await api.submit(delay_seconds=60)
    found = (await api.client.get("/stats")).json()
    assert found["counts"]["by_type"] == {
        "noop": {"COMPLETED": 1},
        "scripted": {"COMPLETED": 1, "FAILED": 1, "PENDING": 1},
    }
    assert found["counts"]["by_state"]["PENDING"] == 1
    for windows, completed, failed in (
        (found["windows"], 2, 1),
        (found["by_type"]["scripted"], 1, 1),
        (found["by_type"]["noop"], 1, 0),
    ):
        for name in ("minute", "hour", "day"):
            window = windows[name]
            assert (window["completed"], window["failed"]) == (completed, failed)
            assert window["failure_rate"] == pytest.approx(failed / (completed + failed))
            assert window["per_second"] == (completed + failed) / window["seconds"]
            for measured in (window["queue_wait"], window["run_time"]):
                assert 0 <= measured["p50"] <= measured["p95"] <= measured["p99"] < 10
    await api.client.post(f"/tasks/{delayed['task_id']}/cancel")
    counts = (await api.client.get("/stats")).json()["counts"]  # exact at once
    assert counts["by_state"]["CANCELLED"] == 1


async def test_a_query_that_is_none(api: Api) -> None:
    response = await api.client.get("/stats?window=year")
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "?window"


async def test_how_it_was_over_time(api: Api) -> None:
    await api.finished(await api.submit())
    await api.submit(task_type="noop", delay_seconds=60)
    found = (await api.client.get("/stats/series?seconds=120")).json()
    assert (found["namespace"], found["task_type"], found["step_seconds"]) == ("default", None, 60)
    assert found["since"].endswith(":00Z")
    assert [len(found[name]) for name in ("submitted", "completed", "failed", "backlog")] == [2] * 4
    assert found["backlog"][-1] == 1
    assert found["backlog_by_type"].keys() == {"noop"}
    assert set(found["queue_wait"]) == set(found["run_time"]) == {"p50", "p95", "p99"}
    other = (await api.client.get("/stats/series?task_type=scripted&seconds=86400")).json()
    assert (len(other["backlog"]), other["backlog"][-1], other["step_seconds"]) == (144, 0, 600)
    for query in ("seconds=59", "seconds=86401", "task_type=-"):
        response = await api.client.get(f"/stats/series?{query}")
        assert response.status_code == 422
        assert response.json()["errors"][0]["pointer"] == f"?{query.partition('=')[0]}"
