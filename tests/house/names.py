"""The names check: no two modules, and no two public classes, of the product share a name."""

import ast
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

_SHARED_BY_CUSTOM = {"__init__", "__main__"}


def check(paths: Iterable[Path]) -> list[str]:
    """Return a line for each name that two modules or two public classes of these files have."""
    modules: defaultdict[str, list[str]] = defaultdict(list)
    classes: defaultdict[str, list[str]] = defaultdict(list)
    for path in paths:
        if path.stem not in _SHARED_BY_CUSTOM:
            modules[path.stem].append(str(path))
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append(f"{path}:{node.lineno}")
    return [
        f"{kind} {name!r} is there {len(places)} times: {', '.join(places)}"
        for kind, found in (("the module name", modules), ("the class name", classes))
        for name, places in sorted(found.items())
        if len(places) > 1
    ]
