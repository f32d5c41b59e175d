"""The lock of an SQLite database: who has it, and what others are told."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from raytasks.store.file_lock import FileInUse, locked

_HOLD = """
import sys
from pathlib import Path
from raytasks.store.file_lock import locked
with locked(Path(sys.argv[1]), "process 7 on here"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_one_is_told_who_has_it_until_that_is_killed(tmp_path: Path) -> None:
    database = tmp_path / "tasks.db"
    command = [sys.executable, "-c", _HOLD, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(FileInUse, match=r"process 7 on here.*tasks\.db.*raytasks down"):
            locked(database).__enter__()
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    with locked(database), pytest.raises(FileInUse), locked(database):
        pytest.fail("two have it")
    with locked(database):
        pass


def test_the_database_itself_stays_as_it_is(tmp_path: Path) -> None:
    with locked(tmp_path / "tasks.db"):
        assert not (tmp_path / "tasks.db").exists()
