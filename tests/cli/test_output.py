"""Commands whose output ends before they do. Each is a process, as a shell starts it."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from raytasks.client import Client

RAYTASKS = f"{sys.executable} -m raytasks"
FULL = "standard output cannot be written: No space left on device"
GONE = "standard output cannot be written: Broken pipe"

pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`")


@pytest.fixture
def shell(service_url: str, tmp_path: Path) -> "Shell":
    """A shell in which `raytasks` is the command, with the service's URL."""
    return Shell(service_url, tmp_path)


class Shell:
    """Runs lines of Bash. Their code is that of the first command of a pipe."""

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "RAYTASKS_URL": url}

    def begin(self, line: str) -> "subprocess.Popen[str]":
        """Start a line."""
        return subprocess.Popen(
            ["bash", "-c", line.replace("raytasks", RAYTASKS)],
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __call__(self, line: str) -> tuple[int, str, str]:
        """Run a line; return its code, and what it prints."""
        process = self.begin(f"{line}; exit ${{PIPESTATUS[0]}}")
        out, err = process.communicate(timeout=60)
        assert "Traceback" not in err, err
        return process.returncode, out, err

    def many(self, count: int, tag: str) -> str:
        """Write a file with tasks, and return its name."""
        task = {"task_type": "noop", "payload": {}, "tags": [tag], "delay_seconds": 600}
        (self.folder / "many.jsonl").write_text(f"{json.dumps(task)}\n" * count)
        return "many.jsonl"


def stored(service_url: str, tag: str) -> set[str]:
    with Client(service_url) as client:
        return {task["task_id"] for task in client.tasks(tag=tag)}


@pytest.mark.parametrize(
    ("ending", "said"), [("| head -1", GONE), ("> /dev/full", FULL), (">&-", "output is closed")]
)
def test_submit_many_says_how_many_and_which_key(
    shell: Shell, service_url: str, ending: str, said: str
) -> None:
    tag = f"ended{len(ending)}"
    file = shell.many(3000, tag)
    code, _, err = shell(f"raytasks submit-many --batch-size 1000 {file} {ending}")
    assert code == 74
    found = re.search(r"; (\d+) tasks were accepted; to go on, run it again with --key (\w+)$", err)
    assert found is not None, err
    assert said in err
    before = stored(service_url, tag)
    assert int(found[1]) == len(before) > 0
    code, out, _ = shell(f"raytasks submit-many --batch-size 1000 {file} --key {found[2]}")
    assert (code, len(out.split())) == (0, 3000)
    assert before < set(out.split())
    assert stored(service_url, tag) == set(out.split())


def test_submit_many_that_is_stopped_says_the_same(shell: Shell, service_url: str) -> None:
    """Its input goes on: the first batch was accepted when its ids come."""
    os.mkfifo(shell.folder / "tasks")
    shell.many(1000, "stopped")
    process = shell.begin("exec raytasks submit-many tasks")
    with (shell.folder / "tasks").open("w") as tasks:
        tasks.write((shell.folder / "many.jsonl").read_text())
        tasks.flush()
        assert process.stdout is not None
        ids = [process.stdout.readline().strip() for _ in range(1000)]
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert re.search(r"stopped; 1000 tasks were accepted; .* with --key \w+$", err), err
    assert stored(service_url, "stopped") == set(ids)


@pytest.mark.parametrize(
    ("ending", "said"), [("> /dev/full", FULL), (">&-", "standard output is closed")]
)
@pytest.mark.parametrize("option", ["", "--json", "--wait"])
def test_submit_tells_the_id_on_standard_error(
    shell: Shell, service_url: str, option: str, ending: str, said: str
) -> None:
    code, _, err = shell(f"raytasks submit noop '{{}}' {option} --tag lost {ending}")
    assert (code, err.startswith("error: ")) == (74, True)
    assert said in err
    found = re.search(r"; the task (\S+) was accepted$", err)
    assert found is not None, err
    assert found[1] in stored(service_url, "lost")


@pytest.mark.parametrize(
    "command",
    ["health", "list", "stats --json", "types", "version", "--help", "get --help", "bulk show"],
)
def test_every_command_says_it_in_one_line(shell: Shell, command: str) -> None:
    assert shell(f"raytasks {command} > /dev/full") == (74, "", f"error: {FULL}\n")


@pytest.mark.parametrize("command", ["health", "list", "types --json", "version"])
def test_closed_output_is_an_error(shell: Shell, command: str) -> None:
    assert shell(f"raytasks {command} >&-") == (74, "", "error: standard output is closed\n")


def test_an_operation_goes_on_and_is_named(shell: Shell) -> None:
    for option in ("", "--no-wait"):
        code, _, err = shell(f"raytasks bulk cancel --tag none --yes {option} > /dev/full")
        assert code == 74
        assert re.search(rf"{FULL}; the operation \S+ goes on by itself$", err), err


@pytest.mark.parametrize("ending", ["2> /dev/full", "2>&-"])
def test_messages_that_nobody_reads_end_nothing(shell: Shell, ending: str) -> None:
    code, out, _ = shell(f"raytasks submit-many {shell.many(5, 'quiet')} {ending}")
    assert (code, len(out.split())) == (0, 5)
    assert shell(f"raytasks get unknown {ending}")[0] == 3


@pytest.mark.parametrize("command", ["submit noop -", "submit-many -"])
def test_closed_input_is_an_error(shell: Shell, command: str) -> None:
    said = "error: standard input is closed: there is nothing to read for -\n"
    assert shell(f"raytasks {command} <&-") == (2, "", said)


def test_characters_that_the_terminal_does_not_have_are_escaped(shell: Shell) -> None:
    shell.environment["PYTHONIOENCODING"] = "ascii"
    payload = '{"value": "na\u00efve \u2713"}'
    code, out, err = shell(f"raytasks submit scripted '{payload}' --wait")
    assert (code, err) == (0, "")
    assert r"na\xefve \u2713" in out
    code, out, _ = shell(f"raytasks submit scripted '{payload}' --wait --json")
    assert code == 0
    assert json.loads(out)["result"]["value"] == "na\u00efve \u2713"
