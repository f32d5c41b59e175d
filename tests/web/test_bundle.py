"""The page's files: they fit together, and any change changes their version."""

import re
import shutil
from pathlib import Path

import pytest

from raytasks.web import UI
from raytasks.web import bundle as bundling
from raytasks.web.bundle import SCRIPT, STYLES, bundle

OURS = sorted(f"ui/{file.relative_to(UI).as_posix()}" for file in UI.rglob("*.js"))
MAX_LINES = 300


def test_scripts_import_what_is_there() -> None:
    page = bundle()
    assert SCRIPT in page.scripts
    imports = re.findall(r'^import .* from "../(.*)";$', page.files[SCRIPT].data.decode(), re.M)
    assert len(imports) == 5
    assert set(imports) < set(page.scripts)


def test_the_start_page_names_every_file() -> None:
    start = bundle().start.data.decode()
    for path in bundle().loaded:
        assert f'"files/{bundle().version}/{path}"' in start, path
    assert "{" not in start


def test_all_styles_are_in_the_one_sheet() -> None:
    sheet = bundle().files[STYLES].data.decode()
    for file in UI.rglob("*.css"):
        rules = re.sub(r"/\*.*?\*/", "", file.read_text(), flags=re.DOTALL).split()
        assert " ".join(rules) in " ".join(re.sub(r"/\*.*?\*/", "", sheet, flags=re.DOTALL).split())


@pytest.mark.parametrize("path", OURS)
def test_a_module_says_its_job_and_is_short(path: str) -> None:
    text = (UI.parent / path).read_text()
    assert text.startswith("/**\n * ")
    assert text.count("\n") < MAX_LINES
    found = re.search(
        rf"^/\* {path} \*/ const (.*?) = \(\(\) => \{{\n(.*?)\nreturn \{{ ",
        bundle().files[SCRIPT].data.decode(),
        re.DOTALL | re.MULTILINE,
    )
    assert found is not None
    assert found[2].count("\n") == text.count("\n") - 1  # lines keep their numbers
    assert "/**" not in found[2]


def test_any_change_changes_the_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundling, "UI", Path(shutil.copytree(UI, tmp_path / "ui")))
    read = bundle.__wrapped__
    assert read().version == bundle().version
    with (tmp_path / "ui" / "style" / "tokens.css").open("a") as file:
        file.write(" ")
    assert read().version != bundle().version
