"""Python processes that begin where another one is: forked, not started.

Tests start hundreds of processes, and each would import the same packages of others, which takes
most of its time. Here they are imported once. Nothing of raytasks is: each process imports
that itself, so that what it forgets is missed.

`python -m tests.forked_python FOLDER` makes the commands `python` and `raytasks` in a folder, which
have their process forked, and serves them until its standard input ends.
"""

import ast
import contextlib
import gc
import importlib
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]

_PACKAGES = (
    "alembic.command", "cronsim", "dotenv", "fastapi", "httpx", "httpx_sse", "msgspec",
    "opentelemetry.trace", "psutil", "psycopg", "pydantic", "pydantic_settings", "pytest",
    "prometheus_client", "regex", "rich.console", "rich.markdown", "rich.syntax", "rich.traceback",
    "sqlalchemy.dialects.postgresql", "sqlalchemy.dialects.sqlite", "typer.main",
    "typer.rich_utils", "unittest.mock", "urllib.request", "uuid_utils", "uvicorn",
)  # fmt: skip
"""Packages of others that our modules import, but for Ray."""

_COMMAND = """\
#!{python} -IS
import os, socket, sys

with socket.socket(socket.AF_UNIX) as caller:
    caller.connect({address!r})
    socket.send_fds(caller, [b"."], [0, 1, 2])
    caller.sendall(repr(({name!r}, sys.argv[1:], os.getcwd(), dict(os.environ))).encode())
    caller.shutdown(socket.SHUT_WR)
    sys.exit(int(caller.recv(16) or b"1"))
"""


@contextlib.contextmanager
def forked_commands(folder: Path) -> Iterator[Path]:
    """Return a folder with the commands `python` and `raytasks`, until the end of the block."""
    plain = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.forked_python", str(folder)],
        cwd=ROOT,
        env=plain,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            assert server.stdout.readline() == b"ready\n"
            yield folder
        finally:
            server.stdin.close()


def _serve(folder: Path) -> tuple[str, list[str]]:
    """Fork a process for each caller. Only such a process returns: what it is to run."""
    address = folder / "forking"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(address))
        listening.listen()
        for name in ("python", "raytasks"):
            command = folder / name
            command.write_text(
                _COMMAND.format(python=sys.executable, address=str(address), name=name)
            )
            command.chmod(0o755)
        for package in _PACKAGES:
            importlib.import_module(package)
        gc.collect()
        gc.freeze()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
        print("ready", flush=True)
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            caller, _ = listening.accept()
            with caller:
                if os.fork() == 0:
                    listening.close()
                    return _attend(caller)
    os._exit(0)


def _attend(caller: socket.socket) -> tuple[str, list[str]]:
    """Fork the process that a caller wants, which returns; tell the caller how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(caller, 1, 3)
    text = b"".join(iter(lambda: caller.recv(65536), b""))
    name, arguments, folder, environment = ast.literal_eval(text.decode())
    process = os.fork()
    if process:
        for stream in streams:
            os.close(stream)
        _, status = os.waitpid(process, 0)
        with contextlib.suppress(OSError):  # the caller may be gone
            caller.sendall(str(os.waitstatus_to_exitcode(status) % 256).encode())
        os._exit(0)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    caller.close()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    places = environment.get("PYTHONPATH", "")
    sys.path[:0] = [place for place in places.split(os.pathsep) if place]
    return name, arguments


def _run(name: str, arguments: list[str]) -> None:
    """Do what the command does: options of Python that are not known here raise `ValueError`."""
    main = sys.modules["__main__"] = ModuleType("__main__")
    if name == "raytasks":
        sys.argv = ["raytasks", *arguments]
        importlib.import_module("raytasks.cli").main()
        return
    while arguments[:2] == ["-W", "error"]:
        warnings.simplefilter("error")
        sys.warnoptions.append("error")
        arguments = arguments[2:]
    kind, *rest = arguments
    sys.path.insert(0, "")
    if kind == "-":
        sys.argv = ["-", *rest]
        exec(compile(sys.stdin.read(), "<stdin>", "exec"), main.__dict__)
    elif kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), main.__dict__)
    elif kind == "-m":
        sys.argv = rest
        sys.path[0] = os.getcwd()
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        raise ValueError(f"not known here: python {' '.join(arguments)}")


if __name__ == "__main__":
    del sys.path[0]  # our own folder
    _run(*_serve(Path(sys.argv[1])))
