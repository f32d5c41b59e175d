"""A hung test ends a run of pytest, with the stacks of all threads. So does a killed process."""

import os
import signal
import subprocess
import sys
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 100

HANGS = """
import time
def test_swallows_the_signal():
    while True:
        try:
            while True:
                time.sleep(0.01)
        except BaseException:
            pass
"""
LEAVES_A_THREAD = """
import threading
def test_leaves_a_thread():
    threading.Thread(target=threading.Event().wait, name="left").start()
"""
IS_KILLED = """
import os, signal
def test_is_killed():
    os.kill(os.getpid(), signal.SIGKILL)
def test_after():
    pass
"""
IS_FROZEN = """
import os, signal
def test_is_frozen():
    os.kill(os.getpid(), signal.SIGSTOP)
"""
TAKES_ITS_TIME = """
import time
import pytest
@pytest.mark.timeout(30)
@pytest.mark.parametrize("number", range(5))
def test_takes_its_time(number):
    time.sleep(0.9)
"""


def run(folder: Path, code: str, *options: str) -> tuple[int, str]:
    """Run a test file with this project's options and shorter limits; return code and output."""
    (folder / "test_it.py").write_text(code)
    (folder / "test_other.py").write_text("def test_other(): pass\n")
    (folder / "conftest.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "import tests.hanging\n"
        "tests.hanging.SILENT_SECONDS = tests.hanging.ENDING_SECONDS = 3\n"
        'pytest_plugins = ["tests.hanging"]\n'
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert project["faulthandler_exit_on_timeout"]
    assert project["faulthandler_timeout"] > project["timeout"]
    command = [
        *(sys.executable, "-m", "pytest", "-c", "/dev/null", "--rootdir", str(folder)),
        *("-p", "no:cacheprovider", *project["addopts"], "-o", "timeout=1"),
        *("-o", "faulthandler_timeout=3", "-o", "faulthandler_exit_on_timeout=true"),
        *(*options, str(folder)),
    ]
    # Into a file, not a pipe: a process that is left would keep a pipe open.
    printed = folder / "printed.txt"
    with printed.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=output, start_new_session=True
        )
        try:
            status = process.wait(LIMIT_SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return status, printed.read_text()


def test_a_test_that_swallows_its_timeout(tmp_path: Path) -> None:
    code, printed = run(tmp_path, HANGS)
    assert code != 0
    assert "test_swallows_the_signal" in printed, printed


def test_so_in_one_of_several_processes(tmp_path: Path) -> None:
    code, printed = run(tmp_path, HANGS, "-n", "2", "--dist", "loadfile")
    assert code != 0
    assert "test_swallows_the_signal" in printed


def test_a_process_that_does_not_end(tmp_path: Path) -> None:
    code, printed = run(tmp_path, LEAVES_A_THREAD)
    assert code != 0
    assert "2 passed" in printed
    assert "Timeout" in printed, printed


def test_one_of_several_processes_is_killed(tmp_path: Path) -> None:
    code, printed = run(tmp_path, IS_KILLED, "-n", "2", "--dist", "loadfile")
    assert code != 0
    assert "test_is_killed" in printed, printed


def test_one_of_several_processes_is_frozen(tmp_path: Path) -> None:
    code, printed = run(tmp_path, IS_FROZEN, "-n", "2", "--dist", "loadfile")
    assert code != 0
    assert "Timeout" in printed, printed


def test_a_process_that_waits_for_a_slower_one_stays(tmp_path: Path) -> None:
    (tmp_path / "test_quick.py").write_text("def test_quick(): pass\n")
    code, printed = run(tmp_path, TAKES_ITS_TIME, "-n", "2", "--dist", "loadfile")
    assert code == 0, printed
    assert "Timeout" not in printed
