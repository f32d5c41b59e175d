"""What the built-in handlers need beyond raytasks itself: the extra `raytasks[handlers]`."""

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from traceback import walk_tb

BUILTIN = "raytasks.builtin"
INSTALL = "pip install 'raytasks[handlers]'"

_NEEDS: Mapping[str, tuple[str, ...]] = {
    "ai_summarization": ("numpy", "snowballstemmer", "stopwordsiso"),
    "image_processing": ("numpy", "PIL"),
}
"""The modules that each built-in task type imports, if the extra brings them."""


def missing_for(task_type: str) -> str | None:
    """Return a module of the extra that a built-in task type needs and that is not installed."""
    return next((name for name in _NEEDS.get(task_type, ()) if find_spec(name) is None), None)


def left_out(modules: Iterable[str]) -> tuple[str, ...]:
    """Return the built-in task types that are not loaded, of those that the modules mean.

    The set `raytasks.builtin` is loaded without the task types that need what is not installed.
    """
    if BUILTIN not in modules:
        return ()
    return tuple(name for name in _NEEDS if missing_for(name) is not None)


def left_out_line(modules: Iterable[str]) -> str | None:
    """Return the line that names the task types left out, and what to install; None if none is."""
    names = left_out(modules)
    return f"not installed: {' and '.join(names)}; {INSTALL} adds them" if names else None


def hint_for(error: ModuleNotFoundError) -> str:
    """Return what to install, to be put behind a message; empty if the extra does not help.

    It helps where a built-in handler imports the missing module.
    """
    if not any(error.name in needed for needed in _NEEDS.values()):
        return ""
    importers = {str(frame.f_globals.get("__name__")) for frame, _ in walk_tb(error.__traceback__)}
    builtin = any(name.startswith(f"{BUILTIN}.") for name in importers)
    return f"; {INSTALL}" if builtin else ""


def require(task_type: str) -> None:
    """Refuse to import a built-in handler whose packages are missing, where it imports them late.

    Raises `ModuleNotFoundError`.
    """
    missing = missing_for(task_type)
    if missing is not None:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
