"""The page's files: they fit together, and any change changes their version."""

import posixpath
import re
import shutil
from pathlib import Path

import pytest

from raytasks.web import UI
from raytasks.web import bundle as bundling
from raytasks.web.bundle import bundle

IMPORT = re.compile(r"""(?:from|import)\s*"([^"]+)";""")
OURS = [path for path in bundle().modules if path.startswith("ui/")]
MAX_LINES = 300

FOR_CHARTS = {"ui/parts/chart.js", "vendor/uplot/dist/uPlot.iife.min.js"}
"""Used by the views that draw."""


def imports_of(path: str) -> set[str]:
    """Return the paths that a module imports."""
    text = bundle().files[path].data.decode()
    folder = posixpath.dirname(path)
    return {posixpath.normpath(posixpath.join(folder, found)) for found in IMPORT.findall(text)}


def test_modules_import_what_is_there_and_all_are_used() -> None:
    reached, waiting = set(), {"ui/main.js"}
    while waiting:
        path = waiting.pop()
        reached.add(path)
        waiting |= imports_of(path) - reached
    assert reached <= set(bundle().modules)
    assert set(bundle().modules) - reached <= FOR_CHARTS


def test_the_start_page_names_every_file() -> None:
    start = bundle().start.data.decode()
    for path in bundle().files:
        assert f'"files/{bundle().version}/{path}"' in start, path
    assert "{" not in start


@pytest.mark.parametrize("path", OURS)
def test_a_module_says_its_job_and_is_short(path: str) -> None:
    text = (UI.parent / path).read_text()
    assert text.startswith("/**\n * ")
    assert text.count("\n") < MAX_LINES
    sent = bundle().files[path].data.decode().split("\n")
    assert len(sent) == text.count("\n") + 1  # lines keep their numbers
    kept = [(line, old) for line, old in zip(sent, text.split("\n"), strict=True) if line]
    assert all(line == old for line, old in kept)
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    assert re.sub(r"/\*.*?\*/", "", "\n".join(sent), flags=re.DOTALL).split() == code.split()


def test_any_change_changes_the_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundling, "UI", Path(shutil.copytree(UI, tmp_path / "ui")))
    read = bundle.__wrapped__
    assert read().version == bundle().version
    with (tmp_path / "ui" / "style" / "tokens.css").open("a") as file:
        file.write(" ")
    assert read().version != bundle().version
