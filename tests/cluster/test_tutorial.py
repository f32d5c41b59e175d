"""Every command of the tutorial runs, in its order, with two starts of a real service."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cluster.conftest import START_SECONDS, STOP_SECONDS
from tests.docs.blocks import NOT_RUN, ROOT, UNTIL_STOPPED, blocks_of
from tests.docs.running import Session, session_in
from tests.ports import quiet_port
from tests.postgres_server import PostgresServer

# On a busy machine it takes long: it starts the service twice.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DATABASE = "postgresql://raytasks:secret@db.example.com/raytasks"
"""The database that the page names; the test has another one."""


class Running:
    """The command that goes on in the first terminal."""

    def __init__(self, session: Session, log: Path, code: str, port: int) -> None:
        self._log = log
        command = f"exec {code.strip()} --port={port} --num-cpus=2"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                ["bash", "-c", command],
                cwd=session.shell.folder(),
                env=session.shell.environment(),
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while "Ctrl-C" not in log.read_text():  # the last line of the announcement
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                pytest.fail(f"the service did not start:\n{log.read_text()}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop it by Ctrl-C."""
        self._process.send_signal(signal.SIGINT)
        assert self._process.wait(STOP_SECONDS) == 0, self._log.read_text()

    def kill(self) -> None:
        """End it, whatever has gone wrong."""
        if self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGTERM)
            self._process.wait(STOP_SECONDS)


@pytest.mark.usefixtures("no_service")
def test_the_commands_run(tmp_path: Path, postgres_server: PostgresServer) -> None:
    blocks = blocks_of(ROOT / "docs" / "tutorial.md")
    postgres_server.run("CREATE DATABASE tutorial")  # without our tables
    database = postgres_server.url("tutorial")
    port = quiet_port()
    running: list[Running] = []
    environment = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "ray-token")}
    folder = tmp_path / "home"
    with session_in(folder, f"http://127.0.0.1:{port}", **environment) as session:
        try:
            for block in blocks:
                if block.marker == UNTIL_STOPPED:
                    if running:
                        running[-1].stop()
                    log = tmp_path / f"up-{len(running)}.log"
                    running.append(Running(session, log, block.code, port))
                elif block.marker != NOT_RUN:
                    session.run(block.replaced(DATABASE, database))
            running[-1].stop()
        finally:
            for one in running:
                one.kill()
    assert len(running) == 2
    postgres_server.drop(database)
