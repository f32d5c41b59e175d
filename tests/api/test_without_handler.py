"""Tasks whose type has no handler any more: a retry says so, and so does `/health`."""

from typing import Any

from raytasks.model.handler_info import HandlerKind
from raytasks.protocol.queries import Health, Query
from tests.local_service import Api


async def failed(api: Api, task_type: str) -> dict[str, Any]:
    task = await api.submit(task_type=task_type, payload={"step": "permanent"})
    return await api.finished(task)


def forget(api: Api, task_type: str) -> None:
    """Have the replica's version lack a handler that it had."""
    spec = api.service.registry._specs.pop(task_type)
    assert spec.kind is HandlerKind.FUNCTION


async def test_a_retry_that_would_wait_for_ever_is_refused(api: Api) -> None:
    task = await failed(api, "scripted")
    forget(api, "scripted")
    answer = await api.client.post(f"/tasks/{task['task_id']}/retry")
    assert answer.status_code == 409
    assert "no handler for 'scripted'" in answer.json()["detail"]
    assert (await api.client.get(f"/tasks/{task['task_id']}")).json()["state"] == "FAILED"
    # What was not this namespace's is still not there, and nobody hears of it.
    elsewhere = await api.client.post(f"/tasks/{task['task_id']}/retry?namespace=other")
    assert elsewhere.status_code == 404


async def test_a_bulk_retry_of_such_a_type_is_refused(api: Api) -> None:
    await failed(api, "scripted")
    forget(api, "scripted")
    body = {"action": "retry", "task_type": "scripted"}
    assert (await api.client.post("/bulk", json=body)).status_code == 409
    counted = await api.client.post("/bulk", json={**body, "dry_run": True})
    assert (counted.status_code, counted.json()) == (200, {"matched": 1})
    cancelled = await api.client.post("/bulk", json={**body, "action": "cancel"})
    assert cancelled.status_code == 202


async def test_a_bulk_retry_of_several_types_warns(idle_api: Api) -> None:
    task = await idle_api.submit(task_type="scripted")
    await idle_api.client.post(f"/tasks/{task['task_id']}/cancel")
    body = {"action": "retry", "state": "CANCELLED", "tag": "none-has-it"}
    assert (await idle_api.client.post("/bulk", json=body)).json()["warnings"] == []
    forget(idle_api, "scripted")
    begun = await idle_api.client.post("/bulk", json=body)
    assert begun.status_code == 202
    [warning] = begun.json()["warnings"]
    assert "no handler in this version for scripted" in warning


async def test_reasons_make_the_health_degraded_and_no_503(api: Api) -> None:
    before = (await api.client.get("/health")).json()
    assert (before["status"], before["reasons"]) == ("ok", [])
    real = api.service.backend.read

    async def read(query: Query[Any]) -> Any:
        found = await real(query)
        if isinstance(query, Health):
            found["reasons"] = [{"code": "no_handler", "message": "3 tasks wait"}]
        return found

    api.service.backend.read = read  # type: ignore[method-assign]
    answer = await api.client.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["reasons"][0]["code"] == "no_handler"
