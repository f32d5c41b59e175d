"""The extra `raytasks[handlers]`: the packages that the built-in handlers need beyond raytasks."""

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from traceback import walk_tb

BUILTIN = "raytasks.builtin"
INSTALL = "pip install 'raytasks[handlers]'"

_NEEDS: Mapping[str, tuple[str, ...]] = {
    "ai_summarization": ("numpy", "snowballstemmer", "stopwordsiso"),
    "image_processing": ("numpy", "PIL"),
}
"""The modules of the extra that each built-in task type imports."""


def missing_for(task_type: str) -> str | None:
    """Return a module of the extra that a built-in task type needs, but is missing; else None."""
    return next((name for name in _NEEDS.get(task_type, ()) if find_spec(name) is None), None)


def left_out(modules: Iterable[str]) -> tuple[str, ...]:
    """Return the built-in task types that the modules name, but that are not loaded.

    The package `raytasks.builtin` is loaded without the task types whose packages are missing.
    """
    if BUILTIN not in modules:
        return ()
    return tuple(name for name in _NEEDS if missing_for(name) is not None)


def left_out_line(modules: Iterable[str]) -> str | None:
    """Return a line with the task types left out, and what to install; None if none is left out."""
    names = left_out(modules)
    return f"not installed: {' and '.join(names)}; {INSTALL} adds them" if names else None


def hint_for(error: ModuleNotFoundError) -> str:
    """Return what to install, to append to a message; empty if the extra does not help.

    It helps if a built-in handler imports the missing module.
    """
    if not any(error.name in needed for needed in _NEEDS.values()):
        return ""
    importers = {str(frame.f_globals.get("__name__")) for frame, _ in walk_tb(error.__traceback__)}
    builtin = any(name.startswith(f"{BUILTIN}.") for name in importers)
    return f"; {INSTALL}" if builtin else ""


def require(task_type: str) -> None:
    """Refuse to import a built-in handler that imports its packages late, if one is missing.

    Raises `ModuleNotFoundError`.
    """
    missing = missing_for(task_type)
    if missing is not None:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
