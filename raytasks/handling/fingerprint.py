"""The fingerprint of handlers' code: equal for equal files, different after a change.

It is made of the files on disk, not of the modules that a process has loaded. So the deployer's
machine and a process of the cluster get the same fingerprint.
"""

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from raytasks.handling.modules import source_root

LENGTH = 12
"""The number of characters of a fingerprint."""


def fingerprint(modules: Iterable[str]) -> str:
    """Return the fingerprint of loaded modules, and of what they import from their own packages.

    It covers their source files, and those of their submodules. It also covers files that these
    import from the same packages (see `source_root`), even within a function.
    """
    digest = hashlib.sha256()
    for name, file in sorted(_sources(modules).items()):
        digest.update(f"{name}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:LENGTH]


def _sources(modules: Iterable[str]) -> dict[str, Path]:
    """Return the source files, by module name."""
    roots = [name for name in modules if name in sys.modules]
    packages = {source_root(name) for name in roots}
    found: dict[str, Path] = {}
    waiting = [(name, file) for root in roots for name, file in _with_children(root)]
    while waiting:
        name, file = waiting.pop()
        if name in found:
            continue
        found[name] = file
        for imported in _imports(name, file):
            if source_root(imported) in packages and imported not in found:
                source = _source_of(imported)
                if source is not None:
                    waiting.append((imported, source))
    return found


def _with_children(name: str) -> Iterator[tuple[str, Path]]:
    """Yield a module, the packages above it up to its root, and all modules below it."""
    root = source_root(name)
    for above in _and_parents(name):
        source = _source_of(above)
        if source is not None and f"{above}.".startswith(f"{root}."):
            yield above, source
    for folder in getattr(sys.modules[name], "__path__", ()):
        for file in Path(folder).rglob("*.py"):
            below = file.relative_to(folder).with_suffix("").parts
            if below[-1] == "__init__":
                below = below[:-1]
            yield ".".join((name, *below)), file


def _source_of(name: str) -> Path | None:
    """Return the source file of a module, loaded or not; None if it has none."""
    top, *rest = name.split(".")
    module = sys.modules.get(top)
    if not rest:
        file = getattr(module, "__file__", None)
        return Path(file) if file and file.endswith(".py") else None
    for folder in getattr(module, "__path__", ()):
        base = Path(folder, *rest)
        for file in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
            if file.is_file():
                return file
    return None


def _imports(name: str, file: Path) -> Iterator[str]:
    """Yield the names that a source file imports: of modules, and maybe of their contents."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # a file that cannot have been imported
        return
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for item in node.names:
                yield from _and_parents(item.name)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(package, node.module, node.level)
            if base:
                yield from _and_parents(base)
                for item in node.names:
                    yield f"{base}.{item.name}"


def _and_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        yield ".".join(parts[:end])


def _absolute(package: str, module: str | None, level: int) -> str:
    """Return the full name that a `from … import` refers to."""
    if not level:
        return module or ""
    parts = package.split(".")
    above = parts[: len(parts) - level + 1]
    return ".".join([*above, *([module] if module else [])])
