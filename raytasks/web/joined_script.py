"""One script made of the page's modules: each is compressed with the others, and sent at once.

Each module becomes a function that is called once, in the order in which the modules need each
other. So names stay in their scopes. The modules are written in a few forms only: imports of names,
and exports of functions, classes and constants, each at the beginning of a line. All else that
begins so is refused, as are circles.
"""

import json
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

MAP_SUFFIX = ".map"
"""What follows the name of a script in the name of its source map."""

_NAMES = r"\{(?P<names>[^{}]*)\}"
_FORMS = re.compile(
    rf'^import (?:(?P<default>\w+)|{_NAMES}) from "(?P<origin>[^"]+)";$'
    rf'|^export {_NAMES.replace("names", "again")}(?: from "(?P<source>[^"]+)")?;$'
    r"|^export (?P<kind>(?:async )?function|class|const) (?P<declared>\w+)"
    r"|^(?P<unknown>(?:import|export)\b.*)|(?P<dynamic>\bimport\s*[(.].*)",
    re.MULTILINE,
)
_NAME = re.compile(r"(?P<name>\w+)(?: as (?P<other>\w+))?")
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

_Place: TypeAlias = tuple[int, int]
"""A line of a module: the number of the module, and that of the line, both from 0."""


class UnknownForm(ValueError):
    """A module has an import or an export that cannot be joined."""


@dataclass
class _Module:
    """A module: its text, with the imports and exports replaced, and what it exports.

    `exports` has the expression of each exported name. `needs` are the paths of modules of ours.
    """

    path: str
    scope: str
    text: str = ""
    exports: dict[str, str] = field(default_factory=dict)
    needs: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class JoinedScript:
    """The script, and its source map (version 3): with it, browsers show the modules."""

    text: str
    source_map: str


def join(
    sent: Mapping[str, str], written: Mapping[str, str], start: str, path: str
) -> JoinedScript:
    """Return the script of all modules, which is to be served at `path`.

    `sent` has the text of each module by its path, and `written` the same lines with all comments.
    Modules at other paths are imported. What `start` needs is run, and `start` at last. The script
    exports `modules`: what each exports, by its path. Raises `UnknownForm`.
    """
    joining = _Joining(sent, posixpath.dirname(path))
    joining.take(start, ())
    unused = sent.keys() - joining.modules.keys()
    if unused:
        raise UnknownForm(f"nothing imports {', '.join(sorted(unused))}")
    heads = [f'import * as {scope} from "{origin}";' for origin, scope in joining.origins.items()]
    lines: list[str] = heads
    places: list[_Place | None] = [None] * len(heads)
    for number, module in enumerate(joining.done):
        begin = f"/* {module.path} */ const {module.scope} = (() => {{"
        end = f"return {{ {', '.join(_pairs(module.exports))} }}; }})();"
        body = module.text.removesuffix("\n").split("\n")
        lines += [begin, *body, end]
        places += [None, *((number, line) for line in range(len(body))), None]
    shown = ", ".join(f'"{module.path}": {module.scope}' for module in joining.done)
    lines += [f"export const modules = {{ {shown} }};"]
    lines += [f"//# sourceMappingURL={posixpath.basename(path)}{MAP_SUFFIX}", ""]
    order = [module.path for module in joining.done]
    return JoinedScript("\n".join(lines), _source_map(order, written, places))


class _Joining:
    """Takes modules after those that they need. `origins` are modules of others, by their URL."""

    def __init__(self, sent: Mapping[str, str], folder: str) -> None:
        self._sent = sent
        self._folder = folder
        self.modules: dict[str, _Module] = {}
        self.done: list[_Module] = []
        self.origins: dict[str, str] = {}

    def take(self, path: str, importers: tuple[str, ...]) -> None:
        """Take a module, which the last of `importers` needs. Raises `UnknownForm`."""
        if path in importers:
            raise UnknownForm(f"a circle: {' → '.join([*importers, path])}")
        if path in self.modules:
            return
        module = _Module(path, f"_m{len(self.modules)}_")
        self.modules[path] = module
        text = self._sent[path]
        for found in _FORMS.finditer(text):
            self._check(found, path)
            origin = found["origin"] or found["source"]
            if origin and self._is_ours(path, origin):
                self.take(self._place(path, origin), (*importers, path))
        module.text = _FORMS.sub(lambda found: self._replaced(found, module), text)
        self.done.append(module)

    def _check(self, found: re.Match[str], path: str) -> None:
        strange = found["unknown"] or found["dynamic"]
        if strange:
            raise UnknownForm(f"{path}: {strange[:80]!r} is no form that can be joined")

    def _place(self, path: str, origin: str) -> str:
        return posixpath.normpath(posixpath.join(posixpath.dirname(path), origin))

    def _is_ours(self, path: str, origin: str) -> bool:
        return self._place(path, origin) in self._sent

    def _replaced(self, found: re.Match[str], module: _Module) -> str:
        """Return what stands in the place of an import or export, with as many lines."""
        if found["declared"]:
            module.exports[found["declared"]] = found["declared"]
            return f"{found['kind']} {found['declared']}"
        fill = "\n" * found[0].count("\n")
        if found["again"] is not None:
            self._export(found, module)
            return fill
        scope, known = self._scope(module, found["origin"])
        if found["default"]:
            _check_known("default", known, module.path, found["origin"])
            return f"const {found['default']} = {scope}.default;{fill}"
        names = _names(found["names"], module.path)
        for name in names.values():
            _check_known(name, known, module.path, found["origin"])
        inner = ", ".join(
            name if name == local else f"{name}: {local}" for local, name in names.items()
        )
        return f"const {{ {inner} }} = {scope};{fill}"

    def _export(self, found: re.Match[str], module: _Module) -> None:
        prefix, source = "", found["source"]
        names = _names(found["again"], module.path)
        if source:
            scope, known = self._scope(module, source)
            prefix = f"{scope}."
            for name in names.values():
                _check_known(name, known, module.path, source)
        module.exports |= {shown: f"{prefix}{name}" for shown, name in names.items()}

    def _scope(self, module: _Module, origin: str) -> tuple[str, Mapping[str, str] | None]:
        """Return the name of what another module exports, and its names if they are known."""
        place = self._place(module.path, origin)
        if place in self._sent:
            return self.modules[place].scope, self.modules[place].exports
        url = posixpath.relpath(place, self._folder)
        return self.origins.setdefault(url, f"_v{len(self.origins)}_"), None


def _names(text: str, path: str) -> dict[str, str]:
    """Return the names of a list such as `a, b as c`: `{"a": "a", "c": "b"}`."""
    names = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = _NAME.fullmatch(part)
        if found is None:
            raise UnknownForm(f"{path}: {part!r} is no name")
        names[found["other"] or found["name"]] = found["name"]
    return names


def _check_known(name: str, known: Mapping[str, str] | None, path: str, origin: str) -> None:
    if known is not None and name not in known:
        raise UnknownForm(f"{path}: {origin} does not export {name}")


def _pairs(exports: Mapping[str, str]) -> list[str]:
    return [name if name == value else f"{name}: {value}" for name, value in exports.items()]


def _source_map(order: list[str], written: Mapping[str, str], places: list[_Place | None]) -> str:
    """Return the source map of lines that were taken as a whole, each from its place."""
    mappings, before = [], (0, 0)
    for place in places:
        if place is None:
            mappings.append("")
            continue
        steps = (0, place[0] - before[0], place[1] - before[1], 0)
        mappings.append("".join(map(_digits, steps)))
        before = place
    return json.dumps(
        {
            "version": 3,
            "sources": order,
            "sourcesContent": [written[path] for path in order],
            "names": [],
            "mappings": ";".join(mappings),
        }
    )


def _digits(value: int) -> str:
    """Return a number as source maps write it: base 64, 5 bits a digit, the sign last."""
    left = abs(value) << 1 | (value < 0)
    text = ""
    while True:
        left, digit = left >> 5, left & 31
        text += _DIGITS[digit | (32 if left else 0)]
        if not left:
            return text
