"""A look at the handlers' code in the process where it will run: does it load, is it the same?"""

import os
import platform
from dataclasses import dataclass

from raytasks.handling.registry import Registry
from raytasks.model.errors import HandlerError

MAX_NAMED = 5


@dataclass(frozen=True)
class Expected:
    """What a build says of itself: its modules, its task types, and its code's fingerprint.

    The modules are looked for in `folder` first.
    """

    modules: tuple[str, ...]
    task_types: tuple[str, ...]
    fingerprint: str
    folder: str | None = None


def inspect(expected: Expected) -> str | None:
    """Import all modules; return what is wrong, as one line, or None.

    Only what ends the process gets out of here.
    """
    try:
        registry = Registry.load(expected.modules, expected.folder)
        return compare(expected, registry.task_types, registry.fingerprint())
    except HandlerError as error:
        return str(error)
    except BaseException as error:
        return f"the handlers could not be read: {type(error).__name__}"


def compare(expected: Expected, task_types: tuple[str, ...], fingerprint: str) -> str | None:
    """Return in what the code that was found differs from the build's, or None."""
    missing = sorted({*expected.task_types} - {*task_types})
    if missing:
        return f"no handler for {_named(missing)}; the code there is not the one that was built"
    more = sorted({*task_types} - {*expected.task_types})
    if more:
        return f"there is also a handler for {_named(more)}, which the build has not"
    if fingerprint != expected.fingerprint:
        return (
            f"the code there is another one ({fingerprint}) than the one that was built "
            f"({expected.fingerprint}); bring the same files to every machine"
        )
    return None


def place() -> str:
    """Return where this process runs, for people."""
    return f"{platform.node()}, pid {os.getpid()}"


def _named(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
