"""What `@handler` has declared in each module, so that nothing declared is dropped in silence."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_NOTES = "__raytasks_declared__"


def record(task_type: str, declared: object) -> None:
    """Note a declaration in the module whose code is being run: maybe through functions of others.

    The same line run again, by a reload, replaces what it has declared before.
    """
    frame = sys._getframe(1)
    while frame.f_code.co_name != "<module>":
        if frame.f_back is None:
            return  # no module is being run: nobody will look for it in one
        frame = frame.f_back
    notes = frame.f_globals.setdefault(_NOTES, {})
    notes[task_type, frame.f_code.co_filename, frame.f_lineno] = declared


def noted_in(names: Iterable[str]) -> Iterator[tuple[str, int, Any]]:
    """Return the module, the line and the declaration of all notes of these modules.

    Of a package, modules that were passed over count as well, if something has imported them.
    """
    tops = tuple(names)
    for name, module in sorted(sys.modules.items()):
        if any(name == top or name.startswith(f"{top}.") for top in tops):
            notes: Mapping[tuple[str, str, int], Any] = getattr(module, "__dict__", {}).get(
                _NOTES, {}
            )
            for (_, _, line), declared in notes.items():
                yield name, line, declared
