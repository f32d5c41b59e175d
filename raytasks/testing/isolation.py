"""The isolation of the test kit: submissions go to a test's door, and Ray joins no cluster."""

import os
import sys
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from raytasks.driver import submit as driver
from raytasks.driver.submission_checks import Door
from raytasks.handling.terms import DriverTerms
from raytasks.model.tasks import Duplicate, NewTask

Answer = TypeVar("Answer")

_NO_QUEUE = (
    "within run_handler there is no queue that takes tasks, and no cluster is asked; "
    "use the fixture raytasks_queue"
)
NO_CLUSTER = (
    "the test kit connects to no cluster; a test that needs Ray starts its own, by "
    "ray.init(address='local')"
)
_AUTO_CONNECT = "RAY_ENABLE_AUTO_CONNECT"
_HOOK = "ray._private.auto_init_hook"


class NoDoor:
    """A door that raises an error: there is no queue."""

    registry = None
    clock = None

    def call(self, coroutine: Coroutine[Any, Any, Answer], seconds: float | None = None) -> Answer:  # noqa: ARG002
        """Run a coroutine, which raises `RuntimeError`."""
        return done(coroutine)

    async def call_async(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        """Run a coroutine, which raises `RuntimeError`."""
        return await coroutine

    async def terms(self) -> DriverTerms:
        """Raise `RuntimeError`."""
        raise RuntimeError(_NO_QUEUE)

    async def submit(self, tasks: Sequence[NewTask]) -> dict[str, Duplicate]:  # noqa: ARG002
        """Raise `RuntimeError`."""
        raise RuntimeError(_NO_QUEUE)

    async def repeated(self, tasks: Sequence[NewTask]) -> dict[str, Duplicate]:  # noqa: ARG002
        """Raise `RuntimeError`."""
        raise RuntimeError(_NO_QUEUE)

    async def result(self, task_id: str) -> Any:  # noqa: ARG002
        """Raise `RuntimeError`."""
        raise RuntimeError(_NO_QUEUE)

    def ref(self, task_id: str) -> Any:  # noqa: ARG002
        """Raise `RuntimeError`."""
        raise RuntimeError(_NO_QUEUE)


@contextmanager
def handlers_without_queue() -> Iterator[None]:
    """Let a handler of `run_handler` submit to the queue of the test, if there is one."""
    if driver.stood_in():
        with _no_auto_connect():
            yield
        return
    door = NoDoor()
    with _no_auto_connect(), standing_in(door):
        yield


@contextmanager
def standing_in(door: Door) -> Iterator[None]:
    """Send submissions to this door until the block ends, and let Ray join no cluster."""
    driver.stand_in(door)
    try:
        with _no_auto_connect():
            yield
    finally:
        driver.take_away(door)


_holds: list[tuple[str | None, bool | None]] = []
"""The state before the kit isolated Ray from clusters, one entry for each nested use."""


@contextmanager
def _no_auto_connect() -> Iterator[None]:
    """Make Ray's calls raise where they would join, or start, a cluster by themselves."""
    hook: Any = sys.modules.get(_HOOK)
    if not _holds:
        connects = None if hook is None else hook.enable_auto_connect
        _holds.append((os.environ.get(_AUTO_CONNECT), connects))
    else:
        _holds.append(_holds[0])
    os.environ[_AUTO_CONNECT] = "0"
    if hook is not None:
        hook.enable_auto_connect = False
    try:
        yield
    finally:
        before, connects = _holds.pop()
        if not _holds:
            os.environ.pop(_AUTO_CONNECT)
            if before is not None:
                os.environ[_AUTO_CONNECT] = before
            hook = sys.modules.get(_HOOK)
            if hook is not None:
                hook.enable_auto_connect = before != "0" if connects is None else connects


def done(coroutine: Coroutine[Any, Any, Answer]) -> Answer:
    """Run to its end a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        answer: Answer = end.value
        return answer
    coroutine.close()
    raise AssertionError("a door of the test kit never waits")
