"""submit, get, list, retry, cancel, types, health: what they print, and their exit codes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raytasks.artifacts.artifact_store import ArtifactStore

Run = Callable[..., Any]
UNKNOWN = "0198c1de-0000-7000-8000-000000000000"
COMMANDS = (
    ("submit", "noop", "{}"), ("get", UNKNOWN), ("list",), ("retry", UNKNOWN),
    ("delete", UNKNOWN), ("update", UNKNOWN, "--priority", "1"),
    ("cancel", UNKNOWN), ("types",), ("health",),
)  # fmt: skip


def submitted(tasks: Run, *arguments: str) -> str:
    """Submit a task that succeeds unless told otherwise, and return its id."""
    done = tasks("submit", *(arguments or ("scripted", "{}")))
    assert done.code == 0, done.err
    task_id: str = done.out.strip()
    assert len(task_id) == 36
    return task_id


def lost(*arguments: Any) -> bytes:
    """Stand for a file that is not there."""
    raise FileNotFoundError


class TestSubmit:
    """`raytasks submit`."""

    def test_it_prints_the_id_alone(self, tasks: Run) -> None:
        task_id = submitted(tasks)
        assert task_id in tasks("get", task_id, "--wait").out

    def test_its_options_reach_the_api(self, tasks: Run) -> None:
        done = tasks(
            "submit", "noop", "{}", "--json",
            "--priority", "-7", "--max-attempts", "9", "--timeout", "2.5", "--delay", "600",
        )  # fmt: skip
        task = json.loads(done.out)
        assert (task["priority"], task["max_attempts"]) == (-7, 9)
        assert task["timeout_seconds"] == 2.5
        assert task["run_at"] > task["created_at"]

    def test_a_unique_key_and_an_expiry_reach_the_api(self, tasks: Run) -> None:
        options = ("--unique", "cli", "--delay", "600", "--expires", "900")
        done = tasks(
            "submit", "noop", "{}", "--json", *options,
            "--unique-until", "started", "--unique-seconds", "60", "--on-conflict", "replace",
        )  # fmt: skip
        task = json.loads(done.out)
        assert task["unique"] == {
            "key": "cli", "until": "started", "seconds": 60.0, "on_conflict": "replace",
        }  # fmt: skip
        assert task["expires_at"] > task["run_at"]
        assert (task["duplicate"], done.err) == (False, "")
        shown = " ".join(tasks("get", task["task_id"]).out.split())
        assert f"unique key cli, until started expires at {task['expires_at']}" in shown
        again = tasks("submit", "noop", "{}", *options)
        assert again.out.strip() == task["task_id"]
        assert "no new task: this open one holds the unique key\n" in again.err
        replaced = tasks("submit", "noop", "{}", *options, "--on-conflict", "replace", "--json")
        assert json.loads(replaced.out)["duplicate"] is True
        assert "has the new values now" in replaced.err
        done = tasks("submit", "noop", "{}", "--unique", "cli", "--on-conflict", "reject")
        assert (done.code, task["task_id"] in done.err) == (3, True)
        assert json.loads(tasks("cancel", task["task_id"], "--json").out)["state"] == "CANCELLED"

    def test_the_terms_of_a_key_need_a_key(self, tasks: Run) -> None:
        done = tasks("submit", "noop", "{}", "--on-conflict", "reject")
        assert (done.code, "go with --unique KEY" in done.err) == (2, True)

    def test_with_wait_it_shows_the_result(self, tasks: Run) -> None:
        done = tasks("submit", "scripted", '{"value": "[red]:smile: ä"}', "--wait")
        assert done.code == 0
        assert "COMPLETED" in done.out
        assert "[red]:smile: ä" in done.out
        assert "succeeded" in done.out

    def test_with_wait_and_json_it_prints_the_whole_task(self, tasks: Run) -> None:
        done = tasks("submit", "scripted", f'{{"value": {2**100}}}', "--wait", "--json")
        assert done.code == 0
        assert json.loads(done.out)["result"]["value"] == 2**100

    def test_a_task_that_fails_is_a_1(self, tasks: Run) -> None:
        done = tasks("submit", "scripted", '{"step": "permanent"}', "--wait")
        assert done.code == 1
        assert "FAILED" in done.out
        assert "PermanentError: scripted permanent failure" in done.out

    def test_waiting_that_takes_too_long_is_a_124(self, tasks: Run) -> None:
        done = tasks("submit", "noop", "{}", "--delay", "600", "--wait", "--wait-timeout", "0.1")
        assert done.code == 124
        assert done.err.startswith("error: task ")
        assert "is still PENDING after 0.1 seconds" in done.err

    def test_an_option_that_cannot_be_sent_is_named(self, tasks: Run) -> None:
        done = tasks("submit", "noop", "{}", "--delay", "nan")
        said = "error: /delay_seconds: cannot be JSON: NaN is no JSON number\n"
        assert (done.code, done.err) == (2, said)
        done = tasks("health", "--url", "http://a..b")
        assert (done.code, "--url: 'http://a..b' is not the URL of a service" in done.err) == (
            2,
            True,
        )

    def test_null_is_a_payload(self, tasks: Run, tmp_path: Path) -> None:
        """Its model refuses it: it has arrived."""
        (tmp_path / "many.jsonl").write_text('{"task_type": "noop", "payload": null}')
        for command in (("submit", "noop", "null"), ("submit-many", "many.jsonl")):
            done = tasks(*command)
            assert (done.code, "payload: Input should be" in done.err) == (3, True), done.err

    def test_the_payload_comes_from_a_file(self, tasks: Run, tmp_path: Path) -> None:
        (tmp_path / "payload.json").write_text('{"value": "naïve"}', encoding="utf-8")
        done = tasks("submit", "scripted", "@payload.json", "--wait", "--json")
        assert json.loads(done.out)["result"]["value"] == "naïve"

    def test_the_payload_comes_from_standard_input(self, tasks: Run) -> None:
        stdin = '{"value": "naïve"}'.encode()
        done = tasks("submit", "scripted", "-", "--wait", "--json", stdin=stdin)
        assert json.loads(done.out)["result"]["value"] == "naïve"

    @pytest.mark.parametrize(
        ("argument", "stdin", "reason"),
        [
            ("{", b"", "the payload is not JSON: EOF while parsing"),
            ("{'a': 1}", b"", "line 1 column 2"),
            ("hello", b"", "the payload is not JSON"),
            ("", b"", "the payload is not JSON"),
            ('{"a": NaN}', b"", "the payload is not JSON"),
            ('{"a": 1e999}', b"", "a number is too big"),
            ('{"a": "\udcff"}', b"", "the payload is not JSON"),
            ("-", b"\xff", "standard input is not JSON"),
            ("-", b"", "standard input is not JSON"),
            ("@nothing.json", b"", "cannot read nothing.json: "),
            ("@", b"", "cannot read "),
            ("@.", b"", "cannot read .: "),
            ("@a\0b", b"", "cannot read "),
        ],
    )
    def test_a_bad_payload_is_a_2(
        self, tasks: Run, argument: str, stdin: bytes, reason: str
    ) -> None:
        done = tasks("submit", "noop", argument, stdin=stdin)
        assert done.code == 2
        assert done.err.startswith("error: ")
        assert reason in done.err
        assert done.out == ""

    def test_what_the_api_refuses_is_a_3_with_every_field(self, tasks: Run) -> None:
        done = tasks("submit", "scripted", '{"step": "dance", "seconds": -1}')
        assert done.code == 3
        first, *fields = done.err.splitlines()
        assert first.endswith("the payload does not fit scripted")
        assert sorted(field.split(":")[0] for field in fields) == [
            "  /payload/seconds",
            "  /payload/step",
        ]
        done = tasks("submit", "scriptd", "{}")
        assert done.code == 3
        assert "did you mean 'scripted'?" in done.err
        assert tasks("submit", "noop", f'{{"a": "{"x" * 6000}"}}').code == 3


class TestGet:
    """`raytasks get`."""

    def test_it_shows_the_history(self, tasks: Run) -> None:
        task_id = submitted(tasks, "scripted", '{"fail_first": 1}')
        done = tasks("get", task_id, "--wait")
        assert done.code == 0
        assert "failed" in done.out
        assert "RuntimeError: scripted failure 1" in done.out
        shown = json.loads(tasks("get", task_id, "--json").out)
        assert [item["outcome"] for item in shown["attempts"]] == ["failed", "succeeded"]

    def test_without_wait_a_failed_task_is_shown_like_any_other(self, tasks: Run) -> None:
        task_id = submitted(tasks, "scripted", '{"step": "permanent"}')
        assert tasks("get", task_id, "--wait").code == 1
        done = tasks("get", task_id)
        assert done.code == 0
        assert "FAILED" in done.out

    def test_it_shows_a_large_result_and_tells_of_a_lost_one(
        self, tasks: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task_id = submitted(tasks, "scripted", '{"step": "large", "seconds": 5000}')
        assert tasks("get", task_id, "--wait").out.count("x") >= 5000
        shown = json.loads(tasks("get", task_id, "--json").out)
        assert (shown["result"], shown["offloaded"]["result"]) == ("x" * 5000, 5002)
        monkeypatch.setattr(ArtifactStore, "read_own", lost)
        done = tasks("get", task_id)
        assert (done.code, done.out) == (3, "")
        assert f"Gone: the result of task {task_id} is gone" in done.err.replace("\n", " ")

    @pytest.mark.parametrize("task_id", [UNKNOWN, "x", "../health", "?limit=1", "é"])
    def test_an_unknown_task_is_a_3(self, tasks: Run, task_id: str) -> None:
        done = tasks("get", task_id)
        assert done.code == 3
        assert done.err.startswith("error: Not Found: there is no")
        assert done.out == ""

    def test_an_empty_id_is_a_2(self, tasks: Run) -> None:
        assert tasks("get", "").code == 2


class TestList:
    """`raytasks list`."""

    def test_it_lists_the_newest_first_with_whole_ids(self, tasks: Run) -> None:
        ids = [submitted(tasks) for _ in range(3)]
        done = tasks("list", "--limit", "3")
        assert done.code == 0
        lines = done.out.splitlines()
        assert lines[0].split()[:3] == ["TASK", "TYPE", "STATE"]
        assert [line.split()[0] for line in lines[1:4]] == ids[::-1]
        assert lines[4].startswith("3 of ")

    def test_its_filters_reach_the_api(self, tasks: Run) -> None:
        task_id = submitted(tasks, "scripted_async", "{}")
        tasks("get", task_id, "--wait")
        done = tasks("list", "--type", "scripted_async", "--state", "completed", "--json")
        page = json.loads(done.out)
        assert [task["task_id"] for task in page["tasks"]] == [task_id]
        assert page["total"] == 1
        page = json.loads(tasks("list", "--type", "scripted_async", "--offset", "1", "--json").out)
        assert page["tasks"] == []

    @pytest.mark.parametrize(
        ("option", "value", "code"),
        [
            ("--limit", "0", 3), ("--limit", "501", 3), ("--limit", "x", 2), ("--offset", "-1", 3),
            ("--state", "done", 3), ("--color", "red", 2),
        ],
    )  # fmt: skip
    def test_bad_filters(self, tasks: Run, option: str, value: str, code: int) -> None:
        done = tasks("list", option, value)
        assert done.code == code
        assert option.removeprefix("--") in done.err


class TestManyAndTags:
    """`submit-many`, and lists by tag and by cursor."""

    def test_a_file_is_submitted_once_however_often(self, tasks: Run, tmp_path: Path) -> None:
        line = {"task_type": "noop", "payload": {}, "delay_seconds": 600, "tags": ["of-the-file"]}
        text = "".join(json.dumps({**line, "priority": number}) + "\n" for number in range(5))
        (tmp_path / "tasks.jsonl").write_text(text, encoding="utf-8")
        ids = []
        for _ in range(2):
            done = tasks("submit-many", "tasks.jsonl", "--key", "file", "--batch-size", "2")
            assert done.code == 0, done.err
            ids.append(done.out.split())
        assert ids[0] == ids[1]
        assert len(set(ids[0])) == 5
        listed = tasks("list", "--tag", "of-the-file", "--all", "--json").out.splitlines()
        assert [json.loads(item)["task_id"] for item in listed] == ids[0][::-1]
        done = tasks("submit-many", "tasks.jsonl", "--key", "file", "--batch-size", "3")
        assert done.code == 3
        assert "must stay as they were" in done.err

    def test_a_bad_task_of_a_file_is_named_by_its_line(self, tasks: Run) -> None:
        lines = ['{"task_type": "noop", "payload": {}}', '{"task_type": "noop"}', ""]
        done = tasks("submit-many", "-", stdin="\n".join(lines).encode())
        assert done.code == 3
        assert "  line 2 /payload: Field required" in done.err

    def test_cursors_lead_through_the_list(self, tasks: Run) -> None:
        ids = [submitted(tasks, "noop", "{}", "--delay", "600", "--tag", "t/3") for _ in range(3)]
        done = tasks("list", "--tag", "t/3", "--limit", "2")
        assert [line.split()[0] for line in done.out.splitlines()[1:3]] == [ids[2], ids[1]]
        cursor = done.out.split("--cursor ")[1].strip()
        done = tasks("list", "--tag", "t/3", "--limit", "2", "--cursor", cursor, "--json")
        assert [task["task_id"] for task in json.loads(done.out)["tasks"]] == [ids[0]]
        assert "t/3" in tasks("get", ids[0]).out


class TestCancelAndRetry:
    """`raytasks cancel` and `raytasks retry`."""

    def test_there_and_back(self, tasks: Run) -> None:
        task_id = submitted(tasks, "noop", "{}", "--delay", "600")
        done = tasks("cancel", task_id)
        assert done.code == 0
        assert "CANCELLED" in done.out
        done = tasks("cancel", task_id)
        assert done.code == 3
        assert "CANCELLED already" in done.err
        assert tasks("get", task_id, "--wait").code == 1
        done = tasks("retry", task_id, "--json")
        assert done.code == 0
        assert json.loads(done.out)["state"] == "PENDING"
        assert tasks("retry", task_id).code == 3


class TestUpdateAndDelete:
    """`raytasks update` and `raytasks delete`, and a retry with other values."""

    def test_what_waits_is_changed(self, tasks: Run) -> None:
        task_id = submitted(tasks, "scripted", "{}", "--delay", "600", "--tag", "old")
        done = tasks(
            *("update", task_id, "--priority", "5", "--payload", '{"value": 1}', "--tag", "a"),
            *("--max-attempts", "7", "--timeout", "9", "--expires", "900", "--json"),
        )
        assert done.code == 0, done.err
        task = json.loads(done.out)
        assert (task["priority"], task["payload"], task["tags"]) == (5, {"value": 1}, ["a"])
        assert (task["max_attempts"], task["timeout_seconds"]) == (7, 9)
        assert task["expires_at"] is not None
        done = tasks("update", task_id, "--no-tags", "--no-expiry", "--json")
        task = json.loads(done.out)
        assert (task["tags"], task["expires_at"], task["revision"]) == ([], None, 2)
        done = tasks("update", task_id, "--priority", "1", "--revision", "0")
        assert done.code == 3
        assert "revision 2 by now" in done.err
        for wrong in ((), ("--tag", "a", "--no-tags"), ("--expires", "1", "--no-expiry")):
            assert tasks("update", task_id, *wrong).code == 2

    def test_what_has_ended_runs_again_with_other_values_or_is_deleted(self, tasks: Run) -> None:
        task_id = submitted(tasks, "scripted", "{}", "--delay", "600")
        assert tasks("delete", task_id).code == 3
        tasks("cancel", task_id)
        done = tasks("retry", task_id, "--priority", "3", "--delay", "900", "--json")
        task = json.loads(done.out)
        assert (task["state"], task["priority"]) == ("PENDING", 3)
        tasks("cancel", task_id)
        done = tasks("delete", task_id)
        assert (done.code, done.out) == (0, f"task {task_id} is deleted\n")
        assert tasks("get", task_id).code == 3


def test_types(tasks: Run) -> None:
    done = tasks("types")
    assert done.code == 0
    (line,) = [line for line in done.out.splitlines() if line.startswith("scripted ")]
    assert "function" in line
    listed = json.loads(tasks("types", "--json").out)["task_types"]
    assert {item["task_type"] for item in listed} >= {"noop", "scripted"}


def test_health(tasks: Run) -> None:
    done = tasks("health")
    assert done.code == 0
    assert [line.split()[:2] for line in done.out.splitlines()] == [
        ["database", "ok"],
        ["tracker", "ok"],
        ["runners", "ok"],
    ]
    assert json.loads(tasks("health", "--json").out)["status"] == "ok"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
class TestNoService:
    """Every command of the client, where there is nothing to talk to."""

    def test_nothing_listens(self, run: Run, command: tuple[str, ...]) -> None:
        done = run(*command, "--url", "http://127.0.0.1:1")
        assert done.code == 4
        assert done.err == (
            "error: no raytasks service answers at http://127.0.0.1:1; "
            "start one with 'raytasks up'\n"
        )
        assert done.out == ""

    def test_the_url_is_none(self, run: Run, command: tuple[str, ...]) -> None:
        done = run(*command, "--url", "localhost:8000")
        assert done.code == 2
        assert done.err.startswith("error: --url: 'localhost:8000' is not the URL of a service")


def test_what_a_task_says_cannot_control_the_terminal(tasks: Run) -> None:
    done = tasks("submit", "scripted", '{"value": "a\\u001b[31m\\u009b2Jz"}', "--wait")
    assert done.code == 0
    assert "\x1b" not in done.out
    assert "\x9b" not in done.out
