"""`raytasks env`, `raytasks down`, and what `up --address` says a cluster lacks."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raytasks.cli import up
from raytasks.cli.output import lasting_output
from raytasks.cluster import environment, ports, processes, runs

Run = Callable[..., Any]
RUNNING = """
import signal, sys, threading
from pathlib import Path
from raytasks.cluster import runs
stopping = threading.Event()
signal.signal(signal.SIGINT, lambda *_: stopping.set())
runs.folder = lambda: Path(sys.argv[1])
with runs.noted(int(sys.argv[2]), "http://127.0.0.1:" + sys.argv[2], 1.0) as note:
    print("ready", flush=True)
    stopping.wait()
    {last}
"""


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of Ray's is set, and all of its ports are free."""
    monkeypatch.setattr(ports, "_free", lambda port: port)
    monkeypatch.setattr(ports, "keep", lambda _: True)
    for name in list(os.environ):
        if name.startswith("RAY_"):
            monkeypatch.delenv(name)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of the runs' files."""
    monkeypatch.setattr(runs, "folder", lambda: tmp_path)
    monkeypatch.setattr(processes, "end_leftovers", lambda: 0)
    return tmp_path


@contextlib.contextmanager
def running(
    folder: Path, port: int, last: str = "note.given_back(7)"
) -> Iterator["subprocess.Popen[str]"]:
    """A process that stands for `raytasks up`, and gives seven tasks back as its last act."""
    code = RUNNING.replace("{last}", last)
    command = [sys.executable, "-c", code, str(folder), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


class TestEnv:
    """`raytasks env`."""

    def test_a_shell_takes_it(self, run: Run, no_variables: None, tmp_path: Path) -> None:
        script = run("env").out
        shown = subprocess.check_output(
            ["/bin/sh", "-c", f"{script}\nenv"], env={}, cwd=tmp_path, text=True
        )
        told = dict(line.split("=", 1) for line in shown.splitlines())
        variables = json.loads(run("env", "--json").out)
        assert variables.items() <= told.items()
        assert variables["RAY_SERVE_THROUGHPUT_OPTIMIZED"] == "1"
        assert variables["PYTHONPATH"].split(os.pathsep)[0] == str(tmp_path)
        assert all(line.startswith(("#", "export ")) for line in script.splitlines())

    def test_it_has_all_that_up_sets(self, run: Run, no_variables: None) -> None:
        variables = json.loads(run("env", "--json").out)
        assert environment.ray_environment("127.0.0.1").keys() <= variables.keys()

    def test_what_is_set_stays(
        self, run: Run, no_variables: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RAY_health_check_period_ms", "7000")
        assert "export RAY_health_check_period_ms=7000\n" in run("env").out

    def test_without_a_token_it_says_how_to_make_one(
        self, run: Run, no_variables: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
        assert "ray get-auth-token --generate" in run("env").out
        (tmp_path / "token").write_text("t" * 64)
        assert "export RAY_AUTH_MODE=token\n" in run("env").out


class TestLacking:
    """The message of `up --address` about what its cluster lacks."""

    def test_of_a_plain_one(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(environment, "variables_at_the_head", lambda: {"PATH"})
        up._tell_what_is_lacking("127.0.0.1")
        first, *lines, last = capsys.readouterr().out.splitlines()
        assert first == "this cluster runs without some of Ray's variables, which works, but:"
        assert any("frozen or cut off" in line for line in lines)
        assert any("(RAY_task_oom_retries)" in line for line in lines)
        assert last.startswith('to mend it: eval "$(raytasks env)" before')

    @pytest.mark.parametrize("known", [True, False])
    def test_of_one_that_has_all_or_does_not_say(
        self, known: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        names = {name for group in environment.groups("127.0.0.1") for name in group.variables}
        found = names if known else None
        monkeypatch.setattr(environment, "variables_at_the_head", lambda: found)
        up._tell_what_is_lacking("127.0.0.1")
        assert capsys.readouterr().out == ""


class TestDown:
    """`raytasks down`."""

    def test_nothing_runs(self, run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        done = run("down")
        assert (done.code, done.out) == (0, "no 'raytasks up' runs on this machine\n")
        monkeypatch.setattr(processes, "end_leftovers", lambda: 3)
        assert "ended 3 processes that an earlier one had left" in run("down").out
        assert "no 'raytasks up' with the port 7 runs" in run("down", "--port", "7").out

    def test_it_ends_in_order_and_says_what_it_gave_back(self, run: Run, folder: Path) -> None:
        with running(folder, 7001) as process:
            done = run("down")
            assert done.code == 0, done.err
            first, last = done.out.splitlines()
            assert f"http://127.0.0.1:7001 (process {process.pid})" in first
            assert last == "it has ended; 7 running tasks were given back"
            assert process.wait(10) == 0
        assert list(folder.iterdir()) == []

    def test_one_whose_disk_is_full_ends_as_well(self, run: Run, folder: Path) -> None:
        with running(folder, 7001, last='note._file.write_text("")') as process:
            done = run("down")
            assert done.code == 0, done.err
            assert done.out.endswith("it has ended; it does not say what it gave back\n")
            assert process.wait(10) == 0

    def test_of_several_one_is_named(self, run: Run, folder: Path) -> None:
        with running(folder, 7001) as first, running(folder, 7002) as second:
            done = run("down")
            assert done.code == 2
            assert "say which one with --port" in done.err
            assert run("down", "--port", "7002").code == 0
            assert second.wait(10) == 0
            assert first.poll() is None

    def test_one_that_was_killed_leaves_nothing(self, run: Run, folder: Path) -> None:
        with running(folder, 7001) as process:
            process.kill()
            process.wait()
            assert len(list(folder.iterdir())) == 1
            assert "no 'raytasks up' runs" in run("down").out
        assert list(folder.iterdir()) == []

    def test_one_of_another_container_is_left_alone(self, run: Run, folder: Path) -> None:
        file = folder / f"{os.getpid()}:1:1.json"
        file.write_text('{"port": 7001, "url": "http://127.0.0.1:7001", "grace_seconds": 1.0}')
        assert "no 'raytasks up' runs" in run("down").out
        assert file.exists()

    def test_one_that_does_not_end_is_named(self, run: Run, folder: Path) -> None:
        with running(folder, 7001) as process:
            os.kill(process.pid, 19)  # SIGSTOP
            [found] = runs.present_runs()
            with pytest.raises(processes.ClusterError, match=f"kill -9 {process.pid}"):
                found.end(0.2)

    def test_a_folder_of_somebody_else_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(runs, "_PARENT", tmp_path)
        made = runs.folder()
        assert made.stat().st_mode & 0o777 == 0o700
        made.chmod(0o755)
        with pytest.raises(processes.ClusterError, match="not a folder of yours alone"):
            runs.folder()


def test_output_without_a_reader_goes_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Gone())
    output = lasting_output()
    print("the first line", file=output, flush=True)
    print("and all others", file=output, flush=True)
    assert sys.stdout.name == os.devnull
    sys.stdout.close()
