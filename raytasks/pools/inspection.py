"""The inspection of the handlers' code where it will run: does it load, and is it the same code?"""

import os
import platform
from dataclasses import dataclass

from raytasks.handling.registry import Registry
from raytasks.model.errors import HandlerError

MAX_NAMED = 5


@dataclass(frozen=True)
class Expected:
    """The code that a build declares: its modules, its task types, and its fingerprint.

    The modules are looked for in `folder` first.
    """

    modules: tuple[str, ...]
    task_types: tuple[str, ...]
    fingerprint: str
    folder: str | None = None


def inspect(expected: Expected) -> str | None:
    """Import all modules; return the fault as one line, or None if there is none.

    Raises nothing: only a module that ends the process keeps this from returning.
    """
    try:
        registry = Registry.load(expected.modules, expected.folder)
        return compare(expected, registry.task_types, registry.fingerprint())
    except HandlerError as error:
        return str(error)
    except BaseException as error:
        return f"the handlers could not be read: {type(error).__name__}"


def compare(expected: Expected, task_types: tuple[str, ...], fingerprint: str) -> str | None:
    """Return how the code that was found differs from the build's; None if it does not."""
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
    """Return the host and process id of this process, as text for people."""
    return f"{platform.node()}, pid {os.getpid()}"


def _named(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
