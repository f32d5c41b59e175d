"""Commands at the same time: all are run, one failure fails them all, and none is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.side_by_side import Interrupts

ROOT = Path(__file__).parents[2]
LEAVES = "import os, subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid, flush=True)"
WAITS = "import os, signal; print(os.getpid(), flush=True); signal.pause()"


def start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.side_by_side", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def side_by_side(*arguments: str) -> tuple[int, str]:
    process = start(*arguments)
    printed, _ = process.communicate(timeout=100)
    return process.returncode, printed


def python(code: str) -> str:
    return f'{sys.executable} -c "{code}"'


def test_each_waits_for_the_other(tmp_path: Path) -> None:
    """One after the other, neither would end."""
    code = (
        "import os, sys, time; os.mkfifo(sys.argv[1]) if sys.argv[3] == 'first' else None;"
        "[time.sleep(0.01) for _ in iter(lambda: os.path.exists(sys.argv[1]), True)];"
        "open(sys.argv[1], sys.argv[2]).close(); print(sys.argv[3], 'is done')"
    )
    fifo = tmp_path / "fifo"
    returned, printed = side_by_side(
        f"first={python(code)} {fifo} r first", f"second={python(code)} {fifo} w second"
    )
    assert returned == 0, printed
    lines = printed.splitlines()
    assert sorted(lines[:2]) == ["first  | first is done", "second | second is done"]
    assert lines[2].startswith("first: passed, after ")


def test_one_failure_fails_all_and_the_other_is_run_to_its_end() -> None:
    returned, printed = side_by_side(
        f"bad={python('raise SystemExit(3)')}", f"good={python('print(1 + 1)')}"
    )
    assert returned == 1
    assert "good | 2" in printed
    assert "bad: failed with exit code 3, after " in printed
    assert "good: passed" in printed


def test_what_takes_too_long_is_ended() -> None:
    returned, printed = side_by_side("--seconds=0.5", f"slow={python(WAITS)}")
    assert returned == 1
    assert "slow: was ended: out of time" in printed


def test_what_a_command_has_left_is_ended() -> None:
    returned, printed = side_by_side(f"leaves={python(LEAVES)}")
    assert returned == 0
    pid = int(printed.splitlines()[0].partition(" | ")[2])
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_sigterm_ends_them_all() -> None:
    process = start(f"slow={python(WAITS)}")
    assert process.stdout is not None
    pid = int(process.stdout.readline().partition(" | ")[2])
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=100)
    assert process.returncode == 130
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_signal_waits_until_what_is_just_started_is_known() -> None:
    interrupts, known = Interrupts(), []

    def begin() -> None:
        with interrupts.held_back():
            interrupts(signal.SIGTERM, None)
            known.append("started")

    with pytest.raises(KeyboardInterrupt):
        begin()
    assert known == ["started"]
    with pytest.raises(KeyboardInterrupt):
        interrupts(signal.SIGTERM, None)


def test_what_is_no_command_is_refused() -> None:
    returned, printed = side_by_side("nothing")
    assert returned == 2
    assert "invalid" in printed
