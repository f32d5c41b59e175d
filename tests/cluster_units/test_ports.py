"""Free ports, and those that a command keeps for what it starts."""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from raytasks.cluster import ports
from raytasks.cluster.environment import ray_environment

CHOOSES = """
import sys
from raytasks.cluster.environment import ray_environment
print(*sorted(ray_environment("127.0.0.1").items()), sep="\\n")
"""
KEEPS = """
import sys
from raytasks.cluster import ports
print(ports.kept({choices}), ports.kept({choices}))
"""


@pytest.fixture(autouse=True)
def marks(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, int]]:
    """The marks that a test has made."""
    made: dict[int, int] = {}
    monkeypatch.setattr(ports, "_marks", made)
    yield made
    for mark in made.values():
        os.close(mark)


@contextmanager
def another(script: str) -> Iterator[str]:
    """Another process that runs a script until the block ends, and what the script says."""
    command = [sys.executable, "-c", f"{script}\nprint(flush=True); sys.stdin.read()"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield "".join(iter(process.stdout.readline, "\n"))
        process.kill()


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_a_free_port_is_free(taken: int) -> None:
    assert ports.free_port(taken) != taken
    port = ports.free_port()
    assert ports.free_port(port) == port
    assert ports.is_free(port)
    assert not ports.is_free(taken)
    assert ports.free([taken]) is ports.kept([taken]) is None


def test_without_any_port_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_free", lambda _: None)
    with pytest.raises(ports.MachineError, match="no free port is left"):
        ports.free_port()


def test_two_commands_choose_different_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("RAY_SERVE_")]:
        monkeypatch.delenv(name)
    names = [name for name in ray_environment("127.0.0.1") if name.endswith("_PORT")]
    assert len(names) == 3
    with another(CHOOSES) as theirs:
        ours = ray_environment("127.0.0.1")
        for name in names:
            assert f"('{name}', '" in theirs
            assert f"'{ours[name]}'" not in theirs


def test_a_port_is_kept_until_the_process_ends(marks: dict[int, int]) -> None:
    port = ports.free_port()
    choices = (port, ports.ANY)
    with another(KEEPS.format(choices=choices)) as told:
        assert told.split() == [str(port)] * 2
        assert not ports.keep(port)
        assert ports.kept(choices) not in (port, None)
        assert ports.is_free(port)  # for who starts there what the port is kept for
    assert ports.kept(choices) == port
    assert port in marks


def test_where_there_are_no_marks_ports_are_only_looked_at(
    monkeypatch: pytest.MonkeyPatch, marks: dict[int, int]
) -> None:
    class Nameless(socket.socket):
        def bind(self, _address: Any) -> None:
            raise OSError(errno.ENOENT, "No such file or directory")

    port = ports.free_port()
    monkeypatch.setattr(socket, "socket", Nameless)
    assert ports.keep(port)
    assert not marks
