"""Leftovers of a killed run are found by its mark, and nothing else is touched."""

import os
import subprocess
import sys

import psutil
import pytest

from raytasks.cluster.processes import end_leftovers, owner_mark

FOREVER = [sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()"]


def start(owner: str | None) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, **({"RAYTASKS_OWNER": owner} if owner else {})}
    process = subprocess.Popen(FOREVER, env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_only_processes_whose_owner_is_gone_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    orphan = start(f"{gone.pid}:1.0")
    reused_id = start(f"{os.getpid()}:0")
    owned = start(owner_mark())
    stranger = start(None)
    elsewhere = start(f"{gone.pid}:1.0:1")  # of another container, whose ids mean nothing here
    started = {item.pid for item in (orphan, reused_id, owned, stranger, elsewhere)}
    all_here = psutil.process_iter  # among them may be what another test has just killed
    monkeypatch.setattr(
        psutil, "process_iter", lambda: (item for item in all_here() if item.pid in started)
    )
    try:
        assert end_leftovers() == 2
        orphan.wait(5)
        reused_id.wait(5)
        assert owned.poll() is None
        assert stranger.poll() is None
        assert elsewhere.poll() is None
    finally:
        for process in (orphan, reused_id, owned, stranger, elsewhere):
            process.kill()
            process.communicate()
