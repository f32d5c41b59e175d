"""Calls of the tracker of the Ray cluster that this process has joined, for people's commands.

A command starts a process for each: this module imports neither Ray Serve nor the database.
"""

import contextlib
from collections.abc import Callable
from typing import Any, TypeAlias

import ray
from ray.exceptions import RayError

from raytasks import __version__
from raytasks.model.lines import one_line
from raytasks.model.tasks import RaytasksError
from raytasks.protocol import codec as wire
from raytasks.protocol.commands import Command, PauseWork, ResumeWork
from raytasks.protocol.person import person_here
from raytasks.protocol.queries import Answer, LogLines, PauseList, Query, VersionList
from raytasks.protocol.service_log import LogPage
from raytasks.runner.identity import RAY_NAMESPACE
from raytasks.runner.on_ray.tracker_client import TRACKER_NAME

_ANSWER_SECONDS = 10.0


Keeping: TypeAlias = Callable[[str], contextlib.AbstractContextManager[None]]
"""Takes what is to be said if the block that it begins is interrupted."""


def keep_nothing(_text: str) -> contextlib.AbstractContextManager[None]:
    """Say nothing at an interrupt: the caller is no command."""
    return contextlib.nullcontext()


class ServiceError(RaytasksError):
    """The service did not start. The text says what is missing."""


class NoServiceHere(ServiceError):
    """No service runs in this Ray cluster."""


class OtherVersion(ServiceError):
    """The service that runs in this cluster is of another version of raytasks.

    The text says which one, and what to do. Nothing was changed.
    """


def check_version(tracker: Any) -> None:
    """Compare the version of the service that runs with ours. Raises `OtherVersion`.

    What they say to each other may differ, so it comes before everything else.
    """
    try:
        theirs = ray.get(tracker.version.remote())
    except AttributeError:
        theirs = "0.1"  # it had no such method
    if theirs != __version__:
        raise OtherVersion(
            f"the service in this cluster is raytasks {theirs}, and this is {__version__}: install "
            f"{theirs} here, or end the service ('raytasks stop') and start it with {__version__} "
            "(docs/upgrading.md)"
        )


def check_version_in_cluster() -> None:
    """Compare the version of the service of this cluster, if one runs. Raises `OtherVersion`."""
    with contextlib.suppress(NoServiceHere):
        check_version(tracker_here())


def drain(seconds: float, keeping: Keeping = keep_nothing) -> int:
    """Stop handing out tasks, and wait until nothing runs.

    Attempts that run for longer than `seconds` are released, uncharged. Returns their number.
    Raises `ServiceError` if no service runs in this cluster.
    """
    tracker = tracker_here()
    with keeping("the service stays drained, until 'raytasks resume'"):
        released: int = ray.get(tracker.drain.remote(seconds, person_here()))
    return released


def end_drain() -> None:
    """Hand out tasks again if the service is drained; a pause stays. Raises `ServiceError`."""
    ray.get(tracker_here().end_drain.remote(person_here()))


def pause(namespace: str, task_type: str, seconds: float | None) -> list[dict[str, Any]]:
    """Hand out no tasks of a namespace and type; return the pauses in force. See `PauseWork`.

    Raises `ServiceError`, also for a type without a handler: most likely it is misspelt.
    """
    [*types] = (item["task_types"] for item in _read(VersionList()) if item["in_force"])
    if task_type and types and types[0] is not None and task_type not in types[0]:
        raise ServiceError(
            f"there is no handler for {task_type!r} in this version; there are: "
            f"{', '.join(types[0])}"
        )
    _execute(PauseWork(namespace, task_type, seconds, person_here()))
    return _read(PauseList())


def resume(namespace: str, task_type: str) -> tuple[bool, list[dict[str, Any]]]:
    """End a pause. Return whether there was one, and the pauses still in force.

    Raises `ServiceError`.
    """
    ended = _execute(ResumeWork(namespace, task_type, person_here()))
    return ended is not None, _read(PauseList())


def _execute(command: Command[Answer]) -> Answer:
    return wire.answer_of(command, ray.get(tracker_here().execute.remote(wire.encode(command))))


def _read(query: Query[Answer]) -> Answer:
    return wire.answer_of(query, ray.get(tracker_here().read.remote(wire.encode(query))))


def log_lines(asked: LogLines) -> LogPage:
    """Return lines of the tracker's log. Raises `ServiceError` while no tracker answers."""
    call = tracker_here().read.remote(wire.encode(asked))
    try:
        answer: bytes = ray.get(call, timeout=asked.seconds + _ANSWER_SECONDS)
    except RayError as error:
        raise ServiceError(f"the tracker does not answer: {one_line(error)}") from None
    return wire.answer_of(asked, answer)


def tracker_here() -> Any:
    """Return the handle of the tracker of this cluster. Raises `NoServiceHere`."""
    try:
        return ray.get_actor(TRACKER_NAME, RAY_NAMESPACE)
    except ValueError:
        raise NoServiceHere("no raytasks service runs in this Ray cluster") from None
