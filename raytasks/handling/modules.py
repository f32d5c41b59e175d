"""The modules that declare handlers: which ones count, where they are searched, their import.

TASK_MODULES names them. Without it, the folder `handlers/` of the working directory counts, and
without that folder the built-in handlers. In every process that loads handlers, the deployer's
working directory comes first on the path, as with `python -m`. A console script alone would not
find the modules beside it.
"""

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

from raytasks.handling.builtin_extra import BUILTIN, hint_for, left_out
from raytasks.model.errors import HandlerError
from raytasks.model.lines import named_line

FOLDER = "handlers"
_SET = f"set RAYTASKS_TASK_MODULES ({BUILTIN} are the built-in handlers)"


def default_modules() -> tuple[str, ...]:
    """Return the default modules, which count if TASK_MODULES names none."""
    own = Path(FOLDER)
    return (FOLDER,) if own.is_dir() or own.with_suffix(".py").is_file() else (BUILTIN,)


def import_modules(names: Iterable[str], folder: str | None = None) -> Iterator[ModuleType]:
    """Import modules (of a package, all its modules), and yield them.

    They are searched in `folder` first, which stays on `sys.path`, then on the rest of the path.
    Unless they are named, it skips modules whose name begins with an underscore, and built-in ones
    whose packages are not installed. Raises `HandlerError` for a module that cannot be imported.
    """
    names = list(names)
    if folder is not None and Path(folder).is_dir():
        sys.path[:] = [folder, *(other for other in sys.path if other != folder)]
        importlib.invalidate_caches()
        if any(name.partition(".")[0] == FOLDER for name in names):
            _prefer(folder)
    for name in names:
        yield from _import_with_children(name, folder)


def nothing_found(names: Iterable[str], folder: str | None) -> HandlerError:
    """Return the error for modules that declare no handler."""
    where = f" (looked in {folder})" if folder else ""
    return HandlerError(
        f"no handler found in {', '.join(names) or 'no modules at all'}{where}; "
        f"declare one there with @handler, or {_SET}"
    )


def source_root(module: str) -> str:
    """Return the package with the source files of a handler's code, by the handler's module."""
    return BUILTIN if f"{module}.".startswith(f"{BUILTIN}.") else module.partition(".")[0]


def _prefer(folder: str) -> None:
    """Let `handlers` mean the package of this name in `folder`, if there is one.

    Without an `__init__.py` there, Python itself would prefer an installed package of that name.
    Raises `HandlerError` if another one is imported already.
    """
    spec = PathFinder.find_spec(FOLDER, [folder])
    if spec is None:
        return
    known = sys.modules.get(FOLDER)
    if known is None:
        if spec.origin is None:  # a folder without `__init__.py`
            sys.modules[FOLDER] = importlib.util.module_from_spec(spec)
        return
    places = [*getattr(known, "__path__", ()), getattr(known, "__file__", None) or ""]
    if not any(Path(place).parent.samefile(folder) for place in places if Path(place).exists()):
        raise HandlerError(
            f"handler module {FOLDER!r} of {folder} cannot be loaded: another one of that name was "
            f"imported from {places[0]}"
        )


def _import_with_children(name: str, folder: str | None) -> Iterator[ModuleType]:
    try:
        module = importlib.import_module(name)
        yield module
        passed_over = left_out([name])
        for child in pkgutil.iter_modules(getattr(module, "__path__", [])):
            if not child.name.startswith("_") and child.name not in passed_over:
                yield from _import_with_children(f"{name}.{child.name}", folder)
    except HandlerError:
        raise
    except ModuleNotFoundError as error:
        missing = error.name or name
        if missing == name or name.startswith(f"{missing}."):
            raise HandlerError(_not_found(name, folder)) from error
        raise HandlerError(
            f"handler module {name!r} needs {missing!r}, not installed{hint_for(error)}"
        ) from error
    except SystemExit as error:
        raise HandlerError(
            f"handler module {name!r} calls sys.exit({_argument(error.code)}) when it is imported"
        ) from error
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise HandlerError(
            f"handler module {name!r} failed to import: {named_line(error)}"
        ) from error


def _argument(code: object) -> str:
    return "" if code is None else repr(code)[:100]


def _not_found(name: str, folder: str | None) -> str:
    places = f"{folder} and on Python's path" if folder else "Python's path"
    return (
        f"handler module {name!r} not found: looked in {places}; "
        f"run raytasks in the folder that has it, or {_SET}"
    )
