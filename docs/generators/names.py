"""The reference of Python: every public name, by what it is."""

import importlib
import inspect
from collections.abc import Iterable

MODULES = {
    "raytasks": "For handlers and driver scripts. How to use it: [handlers](../handlers.md), "
    "[Python in the cluster](../client.md#in-the-cluster).",
    "raytasks.client": "For programs outside the cluster. How to use it: [clients](../client.md).",
    "raytasks.testing": "For tests. How to use it: [testing](../testing.md).",
}
"""The public modules, and what is said above their names."""

INTRODUCTION = """\
# Python

These names are public. Every other name may change without notice.
"""


def page() -> str:
    """Return the page."""
    parts = [INTRODUCTION]
    for module, words in MODULES.items():
        parts.append(f"## {module}\n\n{words}\n")
        public = importlib.import_module(module).__all__
        for title, directive, chosen in _groups(module, public):
            parts.append(f"### {module}: {title}\n")
            body = "\n".join(_entry(directive, module, name) for name in chosen)
            parts.append(f"```{{eval-rst}}\n{body}\n```\n")
    return "\n".join(parts)


def _entry(directive: str, module: str, name: str) -> str:
    """Return the entry of a name; one that is offered by an earlier module refers to that."""
    value = getattr(importlib.import_module(module), name)
    for earlier in list(MODULES)[: list(MODULES).index(module)]:
        if getattr(importlib.import_module(earlier), name, None) is value:
            kind = directive.removeprefix("auto")
            return f".. py:{kind}:: {module}.{name}\n\n   The same as `{earlier}.{name}`.\n"
    if directive == "autoclass" and name.endswith("Client"):  # in parts that are not public
        return (
            f".. {directive}:: {module}.{name}\n   :inherited-members:\n   :no-show-inheritance:\n"
        )
    return f".. {directive}:: {module}.{name}"


def _groups(module: str, public: Iterable[str]) -> Iterable[tuple[str, str, list[str]]]:
    """Return title, directive and names of each group that is not empty."""
    found: dict[str, list[str]] = {"functions": [], "classes": [], "errors": [], "data": []}
    for name in public:
        value = getattr(importlib.import_module(module), name)
        if inspect.isclass(value):
            found["errors" if issubclass(value, BaseException) else "classes"].append(name)
        else:
            found["functions" if inspect.isroutine(value) else "data"].append(name)
    directives = {
        "functions": "autofunction",
        "classes": "autoclass",
        "errors": "autoexception",
        "data": "autodata",
    }
    return [(title, directives[title], chosen) for title, chosen in found.items() if chosen]
