"""The head's keeper: how often it starts a helper again, and what it must know to do so."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from raytasks.cluster.ray_node import Helper, Restarts


def test_restarts_are_limited_within_a_time() -> None:
    restarts = Restarts(limit=2, seconds=60)
    assert [restarts.allow(now) for now in (0, 59, 60, 119)] == [True] * 4
    assert not restarts.allow(119.5)


class TestHelper:
    @pytest.mark.parametrize(
        ("command", "name"),
        [
            (["/x/gcs_server", "--log_dir=/x/a.py"], "gcs_server"),
            (["/x/python", "-u", "/x/log_monitor.py", "--session-dir=/x"], "log_monitor"),
            (["/x/python", "-m", "ray.util.client.server", "--port=1"], "ray.util.client.server"),
        ],
    )
    def test_is_named_by_what_it_runs(self, command: list[str], name: str) -> None:
        class Process(psutil.Process):
            def cmdline(self) -> list[str]:
                return command

        assert Helper.read(Process()).name == name

    def test_is_started_as_it_was(self, tmp_path: Path) -> None:
        told = "import os, sys; print(sys.argv[1:], os.environ['WHAT'], flush=True); input()"
        with (tmp_path / "out").open("wb") as out:
            first = subprocess.Popen(
                [sys.executable, "-c", told, "a b", ""],
                env={**os.environ, "WHAT": "ü"},
                stdin=subprocess.PIPE,
                stdout=out,
            )
            while not (tmp_path / "out").read_text():
                assert first.poll() is None
            helper = Helper.read(psutil.Process(first.pid))
        first.communicate()
        assert helper.command == [sys.executable, "-c", told, "a b", ""]
        starter = (
            "from raytasks.cluster.ray_node import *; "
            "os.waitpid(Helper({!r}, {!r}, {!r}).start(), 0)"
        )
        script = starter.format(helper.name, helper.command, helper.environment)
        again = subprocess.run(
            [sys.executable, "-c", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
        assert again.stdout == (tmp_path / "out").read_text() == "['a b', ''] ü\n"

    def test_does_not_hear_a_ctrl_c(self) -> None:
        told = "import signal, sys; sys.exit(signal.SIGINT in signal.pthread_sigmask(0, ()))"
        pid = Helper("x", [sys.executable, "-c", told], dict(os.environ)).start()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


KEEP = """
import os, sys
from raytasks.cluster.ray_node import Helper, _keep
ends = [sys.executable, "-c", "raise SystemExit({code})"]
pid = os.posix_spawn(sys.executable, ends, os.environ)
sys.exit(_keep({{pid: Helper("raylet", ends, {{}})}}))
"""


@pytest.mark.parametrize("code", [0, 1])
def test_a_raylet_that_was_told_to_leave_ends_in_order(code: int) -> None:
    script = KEEP.format(code=code)
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == code


STOPS = """
import os, signal, subprocess, sys
from raytasks.cluster import ray_node

class Start:
    returncode = 0

def run(command, check):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    print(child.pid, flush=True)
    if {told}:
        signal.raise_signal(signal.SIGTERM)
    return Start

set_handler, more = signal.signal, [True]

def again(number, handler):
    if handler is signal.SIG_IGN and more:  # here comes one more, at the worst moment
        more.clear()
        signal.raise_signal(signal.SIGTERM)
    return set_handler(number, handler)

ray_node.subprocess.run, ray_node.signal.signal = run, again
ray_node._keep = lambda helpers: 1
sys.exit(ray_node.main())
"""


@pytest.mark.parametrize(("told", "code"), [(True, 0), (False, 1)])
def test_one_more_sigterm_while_it_stops_leaves_nothing(told: bool, code: int) -> None:
    """The kernel sends several when a command with threads is killed."""
    script = STOPS.format(told=told)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    left = int(done.stdout)
    try:
        assert not psutil.pid_exists(left), done.stderr
    finally:
        with suppress(ProcessLookupError):
            os.kill(left, signal.SIGKILL)
    assert done.returncode == code, done.stderr
