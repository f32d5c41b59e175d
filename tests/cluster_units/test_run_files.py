"""The files of ended runs: removed but for the newest, and never those of a run that lives."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from raytasks.cluster import run_files
from raytasks.cluster.processes import owner_mark
from raytasks.cluster.ray_noise import is_noise, leave_out_noise


def ended(folder: Path, number: int, *, age: float) -> list[Path]:
    """Record the files of a run whose process is gone; return them."""
    session = folder / f"session_{number}"
    (session / "logs").mkdir(parents=True)
    (session / "logs" / "raylet.out").write_text("words")
    log = folder / f"raytasks-ray-{number}.log"
    log.write_text("words")
    record = folder / f"{gone_pid()}:{number}.files"
    record.write_text(json.dumps([str(session), str(log)]))
    changed_at = record.stat().st_mtime - age
    os.utime(record, (changed_at, changed_at))
    return [session, log]


def gone_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_newest_are_kept(tmp_path: Path) -> None:
    runs = [ended(tmp_path, number, age=number) for number in range(4)]
    assert run_files.remove_old(tmp_path, kept=2) == 2
    assert [all(path.exists() for path in paths) for paths in runs] == [True, True, False, False]
    assert not any(path.exists() for paths in runs[2:] for path in paths)
    assert len(list(tmp_path.glob("*.files"))) == 2


def test_a_run_that_lives_is_left_alone(tmp_path: Path) -> None:
    session = tmp_path / "session_1"
    session.mkdir()
    run_files.record(tmp_path, [session])
    run_files.record(tmp_path, [tmp_path / "session_2", session])  # Ray was started again
    assert run_files.remove_old(tmp_path, kept=0) == 0
    recorded = json.loads((tmp_path / f"{owner_mark()}.files").read_text())
    assert recorded == [str(session), str(tmp_path / "session_2")]
    assert session.exists()


def test_a_run_of_which_a_process_lives_is_left_alone(tmp_path: Path) -> None:
    [session, _] = ended(tmp_path, 1, age=0)
    [record] = tmp_path.glob("*.files")
    command = [sys.executable, "-c", "print(1, flush=True); input()"]
    environment = {**os.environ, "RAYTASKS_OWNER": record.stem}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, **pipes) as process:  # type: ignore[call-overload]
        process.stdout.readline()
        assert run_files.remove_old(tmp_path, kept=0) == 0
        process.communicate(b"\n")
    assert session.exists()
    assert run_files.remove_old(tmp_path, kept=0) == 1


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


def test_a_session_that_answers_is_left_alone(short_folder: Path) -> None:
    [session, _] = ended(short_folder, 1, age=0)
    (session / "sockets").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(session / "sockets" / "raylet"))
        listener.listen()
        assert run_files.remove_old(short_folder, kept=0) == 0
    assert run_files.remove_old(short_folder, kept=0) == 1
    assert not session.exists()


def test_a_link_and_a_bad_record_remove_nothing(tmp_path: Path) -> None:
    kept = tmp_path / "mine"
    kept.mkdir()
    link = tmp_path / "session_9"
    link.symlink_to(kept)
    (tmp_path / f"{gone_pid()}:1.files").write_text(json.dumps([str(link), "session_relative"]))
    (tmp_path / f"{gone_pid()}:2.files").write_text("no JSON")
    run_files.remove_old(tmp_path, kept=0)
    assert kept.exists()
    assert link.is_symlink()


@pytest.mark.parametrize(
    ("text", "noise"),
    [
        (
            "Task ServeController.graceful_shutdown failed. There are infinite retries remaining, "
            "so the task will be retried. Error: The actor died because it was killed by ray.kill",
            True,
        ),
        ("A worker died or was killed while executing a task by an unexpected system error.", True),
        ("The actor was killed by `ray.kill`.", True),
        ("The node with node id: 5 and address: 10.0.0.1 has been marked dead", False),
        ("Your application is running out of disk space", False),
    ],
)
def test_noise_is_what_our_own_log_tells(text: str, noise: bool) -> None:
    assert is_noise(text) is noise


def test_messages_that_are_no_noise_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import worker

    shown: list[list[str]] = []
    monkeypatch.setattr(worker, "print_to_stdstream", lambda data, **_: shown.append(data["lines"]))
    leave_out_noise()
    leave_out_noise()  # safe to repeat
    for text in ("killed by ray.kill", "the disk is full"):
        worker.print_to_stdstream({"lines": [text], "pid": "raylet"}, ignore_prefix=False)
    assert shown == [["the disk is full"]]
