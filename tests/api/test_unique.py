"""Unique keys and expiry over HTTP."""

from typing import Any

import httpx
import pytest

from raytasks.model.time_text import rfc3339
from tests.local_service import Api

BODY = {"task_type": "noop", "payload": {"n": 1}}


def keyed(key: str = "k", **terms: Any) -> dict[str, Any]:
    return {**BODY, "unique": {"key": key, **terms}}


async def post(api: Api, body: Any, path: str = "/tasks/", **headers: str) -> httpx.Response:
    return await api.client.post(path, json=body, headers=headers)


class TestOne:
    async def test_is_answered_with_the_holder(self, idle_api: Api) -> None:
        first = await post(idle_api, keyed())
        assert first.status_code == 202
        assert "Raytasks-Duplicate" not in first.headers
        again = await post(idle_api, keyed())
        assert again.status_code == 200
        assert again.headers["Raytasks-Duplicate"] == "true"
        assert again.headers["Location"] == first.headers["Location"]
        assert again.json()["task_id"] == first.json()["task_id"]
        assert await idle_api.total() == 1

    async def test_has_no_nul(self, idle_api: Api) -> None:
        """PostgreSQL has no such texts."""
        refused = await post(idle_api, keyed("a\0b"))
        assert refused.status_code == 422
        assert [error["pointer"] for error in refused.json()["errors"]] == ["/unique/key"]

    async def test_is_refused_with_the_holders_id(self, idle_api: Api) -> None:
        first = (await post(idle_api, keyed())).json()
        again = await post(idle_api, keyed(on_conflict="reject"))
        assert again.status_code == 409
        problem = again.json()
        assert problem["task_id"] == first["task_id"]
        assert first["task_id"] in problem["detail"]
        assert problem["errors"] == [{"pointer": "/unique", "message": "is held by another task"}]

    async def test_replaces_a_waiting_task(self, idle_api: Api) -> None:
        first = (await post(idle_api, keyed())).json()
        again = await post(
            idle_api, {**keyed(on_conflict="replace"), "payload": {"n": 2}, "priority": 4}
        )
        assert (again.status_code, again.headers["Raytasks-Duplicate"]) == (200, "true")
        task = again.json()
        assert (task["task_id"], task["revision"]) == (first["task_id"], 1)
        assert (task["payload"], task["priority"]) == ({"n": 2}, 4)
        shown = (await idle_api.client.get(f"/tasks/{task['task_id']}")).json()
        assert [act["action"] for act in shown["actions"]] == ["replace"]
        assert await idle_api.total() == 1

    async def test_the_same_request_again_gets_its_own_task(self, idle_api: Api) -> None:
        body = keyed(on_conflict="reject")
        first = await post(idle_api, body, **{"Idempotency-Key": "i"})
        again = await post(idle_api, body, **{"Idempotency-Key": "i"})
        assert (first.status_code, again.status_code) == (202, 200)
        assert "Raytasks-Duplicate" not in again.headers
        assert again.json()["task_id"] == first.json()["task_id"]

    async def test_a_large_payload_cannot_replace(self, api: Api) -> None:
        body = {**keyed(on_conflict="replace"), "payload": {"n": "x" * 200_000}}
        refused = await post(api, body)
        assert refused.status_code == 422
        assert [error["pointer"] for error in refused.json()["errors"]] == ["/payload"]
        refused = await post(api, {"tasks": [BODY, body]}, "/tasks/batch")
        assert [error["pointer"] for error in refused.json()["errors"]] == ["/tasks/1/payload"]
        assert await api.total() == 0


class TestAnIdempotencyKey:
    async def test_that_the_holder_has_answered_is_taken(self, idle_api: Api) -> None:
        holder = (await post(idle_api, keyed())).json()["task_id"]
        key = {"Idempotency-Key": "i"}
        assert (await post(idle_api, keyed(), **key)).json()["task_id"] == holder
        other = await post(idle_api, BODY, **key)
        assert other.status_code == 409
        assert holder in other.json()["detail"]
        again = await post(idle_api, keyed(), **key)
        assert (again.status_code, again.json()["task_id"]) == (200, holder)
        assert await idle_api.total() == 1


class TestABatch:
    async def test_is_refused_with_the_places_of_the_bad_tasks(self, idle_api: Api) -> None:
        holder = (await post(idle_api, keyed())).json()["task_id"]
        refused = keyed(on_conflict="reject")
        answer = await post(idle_api, {"tasks": [BODY, refused]}, "/tasks/batch")
        assert answer.status_code == 409
        problem = answer.json()
        assert [error["pointer"] for error in problem["errors"]] == ["/tasks/1/unique"]
        assert problem["task_id"] == holder
        assert await idle_api.total() == 1

    @pytest.mark.parametrize("policy", ["return", "reject"])
    async def test_that_conflicts_with_itself_names_no_task(self, api: Api, policy: str) -> None:
        tasks = [BODY, keyed(), keyed(on_conflict="reject"), keyed(on_conflict=policy)]
        answer = await post(api, {"tasks": tasks}, "/tasks/batch")
        assert answer.status_code == 409
        problem = answer.json()
        assert "task_id" not in problem
        assert "by the task 1 of the batch itself" in problem["detail"]
        refused = [2, 3] if policy == "reject" else [2]
        assert [error["pointer"] for error in problem["errors"]] == [
            f"/tasks/{place}/unique" for place in refused
        ]
        assert await api.total() == 0

    async def test_has_the_holder_at_its_place(self, idle_api: Api) -> None:
        holder = (await post(idle_api, keyed())).json()["task_id"]
        answer = await post(idle_api, {"tasks": [BODY, keyed()]}, "/tasks/batch")
        assert (answer.status_code, answer.headers["Raytasks-Duplicate"]) == (202, "true")
        new, found = answer.json()["tasks"]
        assert answer.json()["duplicates"] == [1]
        assert found["task_id"] == holder != new["task_id"]
        again = await post(idle_api, {"tasks": [keyed(), keyed()]}, "/tasks/batch")
        assert again.status_code == 200
        assert [task["task_id"] for task in again.json()["tasks"]] == [holder, holder]
        assert again.json()["duplicates"] == [0, 1]
        plain = await post(idle_api, {"tasks": [BODY]}, "/tasks/batch")
        assert plain.json()["duplicates"] == []


class TestRetry:
    async def test_is_refused_while_another_holds_the_key(self, idle_api: Api) -> None:
        first = (await post(idle_api, keyed())).json()["task_id"]
        await idle_api.client.post(f"/tasks/{first}/cancel")
        second = (await post(idle_api, keyed())).json()["task_id"]
        refused = await idle_api.client.post(f"/tasks/{first}/retry")
        assert refused.status_code == 409
        assert refused.json()["task_id"] == second
        await idle_api.client.post(f"/tasks/{second}/cancel")
        retried = await idle_api.client.post(f"/tasks/{first}/retry")
        assert retried.json()["state"] == "PENDING"


class TestExpiry:
    @pytest.mark.parametrize(
        ("times", "pointer"),
        [
            ({"expires_at": "2001-01-01T00:00:00Z"}, "/expires_at"),
            ({"expires_seconds": 10, "delay_seconds": 10}, "/expires_seconds"),
            ({"expires_seconds": 1e10}, "/expires_seconds"),
            (
                {"run_at": "2030-01-01T00:00:00Z", "expires_at": "2029-01-01T00:00:00Z"},
                "/expires_at",
            ),
        ],
    )
    async def test_a_time_at_which_it_could_not_begin_is_refused(
        self, idle_api: Api, times: dict[str, Any], pointer: str
    ) -> None:
        refused = await post(idle_api, BODY | times)
        assert refused.status_code == 422
        assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]

    async def test_says_why_the_task_was_cancelled(self, idle_api: Api) -> None:
        task = (await post(idle_api, {**BODY, "expires_seconds": 0.05})).json()
        ended = await idle_api.client.get(f"/tasks/{task['task_id']}", params={"wait": 30})
        found = ended.json()
        assert found["state"] == "CANCELLED"
        assert found["cancel_reason"] == {"code": "expired", "message": None, "by": None}
        assert found["expires_at"] == task["expires_at"] > rfc3339(0.0)
        assert (found["actions"], found["attempts"]) == ([], [])
