"""The fingerprint of the code: the same wherever the files are, whatever else is loaded."""

import importlib
import itertools
from pathlib import Path

import pytest

from raytasks.handling.fingerprint import fingerprint

_NUMBERS = itertools.count()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """A package with a module of handlers, and others beside it."""
    name = f"printed_{next(_NUMBERS)}"
    folder = tmp_path / name
    (folder / "tasks").mkdir(parents=True)
    (folder / "lib").mkdir()
    files = {
        "__init__.py": "",
        "tasks/__init__.py": "",
        "tasks/mail.py": f"from {name} import near\nfrom ..lib import deep\n"
        f"def later():\n    import {name}.lazy\n",
        "near.py": "",
        "lazy.py": "",
        "lib/__init__.py": "",
        "lib/deep.py": "from . import deeper",
        "lib/deeper.py": "",
        "server.py": "",
    }
    for file, text in files.items():
        (folder / file).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module(f"{name}.tasks.mail")
    return name, folder


@pytest.mark.parametrize(
    "changed",
    ["tasks/mail.py", "near.py", "lazy.py", "lib/deep.py", "lib/deeper.py", "__init__.py"],
)
def test_it_changes_with_what_the_handlers_use(package: tuple[str, Path], changed: str) -> None:
    name, folder = package
    before = fingerprint([f"{name}.tasks"])
    with (folder / changed).open("a") as file:
        file.write("\n# changed\n")
    assert fingerprint([f"{name}.tasks"]) != before


def test_it_does_not_hang_on_what_else_is_loaded(package: tuple[str, Path]) -> None:
    name, folder = package
    before = fingerprint([f"{name}.tasks"])
    importlib.import_module(f"{name}.server")
    importlib.import_module(f"{name}.lazy")
    assert fingerprint([f"{name}.tasks"]) == before
    (folder / "server.py").write_text("changed = True\n")
    assert fingerprint([f"{name}.tasks"]) == before


def test_a_new_file_beside_the_handlers_counts(package: tuple[str, Path]) -> None:
    name, folder = package
    before = fingerprint([f"{name}.tasks"])
    (folder / "tasks" / "_helper.py").write_text("VALUE = 1\n")
    assert fingerprint([f"{name}.tasks"]) != before
