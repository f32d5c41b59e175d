"""`raytasks demo --break` on a service of the tests: the kills are real, and nothing is lost."""

import pytest

from raytasks.cli.demo_break import Plan, break_service
from tests.cluster.conftest import Service
from tests.cluster.processes import HAPROXY, REPLICA, TRACKER, only
from tests.cluster.recovery import TIMES


@pytest.mark.slow
def test_what_is_killed_comes_back_and_nothing_is_lost(service: Service) -> None:
    names = (TRACKER, REPLICA, HAPROXY)
    before = {name: only(service, name).pid for name in names}
    plan = Plan(tasks=400, kills_at=(60, 130, 200))
    account = break_service(service.url, service.process.pid, plan)
    told = "\n".join(account.lines)
    assert account.good, told
    assert (account.accepted, account.completed, account.lost) == (400, 400, 0), told
    runner, tracker, api = account.kills
    assert len(runner.pids) == 1
    assert tracker.pids == (before[TRACKER],)
    assert {before[REPLICA], before[HAPROXY]} <= set(api.pids)
    assert all(only(service, name).pid != pid for name, pid in before.items())
    # Whatever had begun in the runner has an attempt that was lost, and another that succeeded.
    tasks = service.http.get("/tasks/", params={"task_type": "order", "limit": 500}).json()["tasks"]
    again = [service.get(task)["attempts"] for task in tasks if task["attempt"] > 1]
    outcomes = [{attempt["outcome"] for attempt in attempts} for attempts in again]
    assert len(account.twice) == sum({"lost", "succeeded"} <= kinds for kinds in outcomes)
    for kill in account.kills:
        assert kill.back_seconds is not None
        TIMES[f"`demo --break`: {kill.what}"] = kill.back_seconds
