"""Acts of people: in a task's document, in its events, in the feed, and in `/audit`."""

import json
from pathlib import Path
from typing import Any

from tests.keyring import bearer, locked
from tests.local_service import Api

NOOP = {"task_type": "noop", "payload": {}, "delay_seconds": 600}


async def submitted(api: Api, key: str = "a") -> str:
    made = await api.client.post("/tasks/", json=NOOP, headers=bearer(key))
    assert made.status_code == 202, made.text
    task_id: str = made.json()["task_id"]
    return task_id


async def ask(api: Api, method: str, path: str, key: str = "a", **more: Any) -> Any:
    answer = await api.client.request(method, path, headers=bearer(key), **more)
    assert answer.status_code < 300, answer.text
    return answer.json()


async def test_a_task_says_who_cancelled_and_retried_it(sqlite_url: str, tmp_path: Path) -> None:
    async with locked(sqlite_url, tmp_path) as api:
        task_id = await submitted(api)
        path = f"/tasks/{task_id}"
        fresh = await ask(api, "GET", path)
        assert (fresh["actions"], fresh["cancel_reason"]) == ([], None)
        cancelled = await ask(api, "POST", f"{path}/cancel?message=not%20needed", "o")
        reason = {"code": "requested", "message": "not needed", "by": "o"}
        assert cancelled["cancel_reason"] == reason
        [listed] = (await ask(api, "GET", "/tasks/"))["tasks"]
        assert listed["cancel_reason"] == reason
        bulk = await ask(api, "POST", "/bulk", json={"action": "retry", "state": "CANCELLED"})
        assert bulk["by"] == "a"
        while (await ask(api, "GET", f"/bulk/{bulk['bulk_id']}"))["state"] != "DONE":
            pass
        await ask(api, "POST", f"{path}/cancel", "o")
        task = await ask(api, "GET", path)
        assert [(act["action"], act["by"], act["bulk_id"]) for act in task["actions"]] == [
            ("cancel", "o", None),
            ("retry", "a", bulk["bulk_id"]),
            ("cancel", "o", None),
        ]
        events = (await api.client.get(f"{path}/events", headers=bearer("r"))).text
        data = [json.loads(line[6:]) for line in events.splitlines() if line.startswith("data: ")]
        found = [(item["state"], item["by"], item["action"]) for item in data if "by" in item]
        assert found == [
            ("PENDING", None, None),
            ("CANCELLED", "o", "cancel"),
            ("PENDING", "a", "retry"),
            ("CANCELLED", "o", "cancel"),
        ]
        assert all(item["at"] for item in data if "by" in item)


async def test_the_audit_is_for_those_who_operate_the_whole_service(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with locked(sqlite_url, tmp_path) as api:
        for key, status in (("r", 403), ("s", 403), ("b", 403), ("o", 200), ("a", 200)):
            answer = await api.client.get("/audit", headers=bearer(key))
            assert answer.status_code == status, key
        assert (await api.client.get("/audit")).status_code == 401
        mine, theirs = await submitted(api), await submitted(api, "b")
        await ask(api, "POST", f"/tasks/{mine}/cancel", "o")
        await ask(api, "POST", f"/tasks/{theirs}/cancel", "b")
        again = await api.client.post(f"/tasks/{mine}/cancel", headers=bearer("o"))
        assert again.status_code == 409
        page = await ask(api, "GET", "/audit", "o")
        assert page["next_cursor"] is None
        newest, oldest = page["entries"]
        assert newest.pop("audit_id") > oldest["audit_id"]
        assert newest.pop("at")
        assert newest == {
            "by": "b",
            "action": "cancel",
            "namespace": "team-b",
            "target": theirs,
            "details": {"task_type": "noop", "state": "PENDING", "message": None},
        }
        first = await ask(api, "GET", "/audit?limit=1", "o")
        second = await ask(api, "GET", f"/audit?limit=1&cursor={first['next_cursor']}", "o")
        assert [first["entries"][0]["by"], second["entries"][0]["by"]] == ["b", "o"]
        for query in ("by=o", "action=cancel&namespace=default", f"since={oldest['at']}&by=o"):
            found = await ask(api, "GET", f"/audit?{query}", "o")
            assert [item["target"] for item in found["entries"]] == [mine], query
        for bad in ("limit=0", "cursor=x", "action=x", "since=1", "by=%00", "other=1"):
            refused = await api.client.get(f"/audit?{bad}", headers=bearer("o"))
            assert refused.status_code == 422, bad
