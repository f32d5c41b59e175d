"""The build of a version: the handlers are read in a process of their own.

A module may end its process, crash or hang when it is imported. The reader must survive that and
report it.
"""

import contextlib
import json
import os
import pickle
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from raytasks.handling.registry import Registry
from raytasks.model.errors import HandlerError
from raytasks.model.handler_info import HandlerInfo
from raytasks.pools.handlers_version import HandlersVersion, new_token
from raytasks.settings import Settings, handler_environment

READ_SECONDS = 120.0
"""How long the import of all handlers may take."""

_LOOK_SECONDS = 0.05
_CHILD = (
    "import json, sys; fd, sys.path[:], modules, folder = json.load(sys.stdin); "
    "from raytasks.pools.reading import tell; tell(fd, modules, folder)"
)
_RESULT = b"result "


def read_version(settings: Settings, seconds: float = READ_SECONDS) -> HandlersVersion:
    """Return a new build of the handlers as their modules are now, found from this directory.

    Raises `HandlerError`, which names the module and its fault.
    """
    folder = str(Path.cwd())
    fingerprint, handlers = _read(settings.task_modules, folder, seconds)
    return HandlersVersion(
        token=new_token(),
        fingerprint=fingerprint,
        handlers=handlers,
        settings=settings,
        environment=handler_environment(),
        folder=folder,
    )


def tell(descriptor: int, modules: Sequence[str], folder: str) -> None:
    """Read the handlers in the child process: report each import, then the result, and exit."""
    announcer = _Announcer(descriptor, modules)
    sys.meta_path.insert(0, announcer)
    try:
        registry = Registry.load(modules, folder)
        # Imported late, as it imports Ray, which takes time.
        from raytasks.runner.on_ray.ray_options import check_ray_options

        check_ray_options(registry)
        result = pickle.dumps((None, registry.fingerprint(), registry.infos()))
    except HandlerError as error:
        result = pickle.dumps((str(error), "", ()))
    except BaseException as error:
        text = f"handler module {announcer.last!r} failed: {type(error).__name__}"
        with contextlib.suppress(BaseException):
            text = f"{text}: {' '.join(str(error).split())[:300]}"
        result = pickle.dumps((text, "", ()))
    with os.fdopen(descriptor, "wb") as output:
        output.write(_RESULT + str(len(result)).encode() + b"\n" + result)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(0)  # even if the modules have started threads


class _Announcer(MetaPathFinder):
    """A finder that finds nothing, but reports the name of each handler module looked for."""

    def __init__(self, descriptor: int, modules: Sequence[str]) -> None:
        self._descriptor = descriptor
        self._packages = {name.partition(".")[0] for name in modules}
        self.last = ", ".join(modules)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Report the name, and leave the module to the other finders."""
        if fullname.partition(".")[0] in self._packages:
            self.last = fullname
            with contextlib.suppress(OSError):
                os.write(self._descriptor, f"{fullname}\n".encode())
        return None


def _read(
    modules: Sequence[str], folder: str, seconds: float
) -> tuple[str, tuple[HandlerInfo, ...]]:
    reader, writer = os.pipe()
    try:
        child = subprocess.Popen(  # noqa: S603 - our own command, no shell
            [sys.executable, "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=2,  # what modules print must not get into our own output
            pass_fds=(writer,),
        )
    finally:
        os.close(writer)
    try:
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError), child.stdin as stdin:
            stdin.write(json.dumps([writer, sys.path, list(modules), folder]).encode())
        said = b"".join(_said(reader, child, seconds))
        return _understood(said, child, modules, seconds)
    finally:
        child.kill()
        child.wait()
        os.close(reader)


def _said(reader: int, child: "subprocess.Popen[bytes]", seconds: float) -> Iterator[bytes]:
    """Yield the child's output until it closes it, ends, or the time is up."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        ended = child.poll() is not None
        # A process that the child has started may keep the pipe open: the child's own end counts.
        if select.select([reader], [], [], 0 if ended else min(left, _LOOK_SECONDS))[0]:
            piece = os.read(reader, 65536)
            if not piece:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(left)
                return
            yield piece
        elif ended:
            return


def _understood(
    said: bytes, child: "subprocess.Popen[bytes]", modules: Sequence[str], seconds: float
) -> tuple[str, tuple[HandlerInfo, ...]]:
    names, found, rest = said.partition(_RESULT)
    length, _, result = rest.partition(b"\n")
    if found and length.isdigit() and len(result) >= int(length):
        read: Any = pickle.loads(result[: int(length)])  # noqa: S301 - of our own child
        wrong, fingerprint, handlers = read
        if wrong is not None:
            raise HandlerError(wrong)
        return fingerprint, handlers
    last = names.decode(errors="replace").split("\n")[-2:-1]
    module = repr(last[0]) if last else ", ".join(modules)
    status = child.poll()
    if status is None:
        raise HandlerError(f"handler module {module}: its import did not end in {seconds:g} s")
    raise HandlerError(
        f"handler module {module} ended the process when it was imported: {_described(status)}"
    )


def _described(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
