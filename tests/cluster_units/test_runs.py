"""Which `raytasks up` run here: all processes of a user find them, and no file disturbs a stop."""

import fcntl
import os
import shutil
import tempfile
import threading
from pathlib import Path

import pytest

from raytasks.cluster import processes, runs


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which that of the runs is."""
    monkeypatch.setattr(runs, "_PARENT", tmp_path)
    return tmp_path


def test_a_start_waits_until_the_one_before_it_has_its_ports(parent: Path) -> None:
    order: list[str] = []
    came = threading.Event()

    def start() -> None:
        came.set()
        with runs.starting():
            order.append("second")

    second = threading.Thread(target=start)
    with runs.starting():
        second.start()
        assert came.wait(10)
        second.join(0.2)
        assert second.is_alive()
        order.append("first")
    second.join(10)
    assert order == ["first", "second"]
    assert runs.present_runs() == []


def test_the_folder_is_the_same_for_each_process_of_a_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Systemd and cron start a service with other variables than a login has."""
    found = runs.folder()
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert runs.folder() == found


def test_a_run_can_be_found(parent: Path) -> None:
    with runs.noted(7001, "http://127.0.0.1:7001", 1.0):
        [found] = runs.present_runs()
        assert (found.port, found.grace_seconds) == (7001, 1.0)
    assert runs.present_runs() == []


def test_a_stop_goes_on_when_the_folder_has_gone(parent: Path) -> None:
    with runs.noted(7001, "http://127.0.0.1:7001", 1.0) as note:
        shutil.rmtree(runs.folder())
        note.given_back(3)
    assert runs.present_runs() == []


def test_a_stop_goes_on_when_the_file_cannot_be_written(parent: Path) -> None:
    with runs.noted(7001, "http://127.0.0.1:7001", 1.0) as note:
        [file] = runs.folder().glob("*.json")
        file.unlink()
        file.mkdir()
        note.given_back(3)


def test_a_start_that_cannot_write_its_file_says_so(parent: Path) -> None:
    (runs.folder() / f"{processes.owner_mark()}.json").mkdir()
    with (
        pytest.raises(processes.ClusterError, match=r"\.json: Is a directory"),
        runs.noted(7001, "http://127.0.0.1:7001", 1.0),
    ):
        pass


def test_cleaners_of_old_files_leave_the_folder_of_a_run_alone(parent: Path) -> None:
    """`systemd-tmpfiles` takes this lock before it removes anything in a folder."""

    def is_locked() -> bool:
        folder = os.open(runs.folder(), os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(folder)
        return False

    with runs.noted(7001, "http://127.0.0.1:7001", 1.0):
        assert is_locked()
    assert not is_locked()
