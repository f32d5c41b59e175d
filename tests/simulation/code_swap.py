"""Puts a mutant's fault into functions that have been imported: all who hold them get it."""

import gc
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType

from tests.simulation.mutant import Mutant


def swap(mutant: Mutant) -> bool:
    """Give the functions of the mutant's module its code; return whether that is all it changes.

    A fault outside functions, or in what was called when the module was imported, needs a process
    that has not imported it.
    """
    module = importlib.import_module(mutant.module)
    path = str(module.__file__)
    source = Path(path).read_text()
    before, after = compile(source, path, "exec"), compile(mutant.patched(source), path, "exec")
    if _bare(before) != _bare(after):
        return False
    old, new = dict(_functions(before)), dict(_functions(after))
    changed = {name for name, code in new.items() if _deep(code) != _deep(old[name])}
    live = [
        item
        for item in gc.get_objects()
        if isinstance(item, FunctionType)
        and item.__code__.co_filename == path
        and item.__code__.co_qualname in changed
    ]
    for function in live:
        function.__code__ = new[function.__code__.co_qualname]
    return bool(changed) and {item.__code__.co_qualname for item in live} == changed


def _functions(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    """Yield the functions of a module and of its classes, by qualified name."""
    for item in code.co_consts:
        if isinstance(item, CodeType):
            if item.co_flags & 1:  # optimized: a function; the body of a class is not
                yield item.co_qualname, item
            else:
                yield from _functions(item)


def _bare(code: CodeType) -> tuple[object, ...]:
    """Return what the code of a module or class does, without its functions."""
    return (
        code.co_name,
        code.co_code,
        code.co_names,
        *(
            item if not isinstance(item, CodeType) else None if item.co_flags & 1 else _bare(item)
            for item in code.co_consts
        ),
    )


def _deep(code: CodeType) -> tuple[object, ...]:
    """Return what a function does, without the numbers of its lines."""
    return (
        code.co_code,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        *(_deep(item) if isinstance(item, CodeType) else item for item in code.co_consts),
    )
