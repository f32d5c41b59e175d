"""Where handlers' modules are looked for: each in a process of its own, as `sys.path` changes."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SHOUT = """
from raytasks import handler
@handler({task_type!r})
def shout(payload: dict) -> dict: ...
"""

LOAD = """
import os, sys
sys.path[:] = [path for path in sys.path if path not in ("", os.getcwd())]  # a console script's
from raytasks.model.tasks import RaytasksError
from raytasks.handling.registry import Registry
from raytasks.settings import load_settings
try:
    print(*Registry.load(load_settings().task_modules, os.getcwd()).task_types)
except RaytasksError as error:
    print("error:", error)
"""

Load = Callable[..., str]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write modules below a working directory, load the handlers there, and return the answer."""

    def run(files: dict[str, str], before: str = "", **environment: str) -> str:
        for name, text in files.items():
            path = tmp_path / "project" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(SHOUT.format(task_type=text) if text else "")
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", before + LOAD],
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().replace(str(folder), "HERE")

    return run


BUILT_IN = "ai_summarization batch_processing image_processing text_processing"


def test_modules_that_are_named_come_first(load: Load) -> None:
    files = {"handlers/shout.py": "shout", "shop/tasks.py": "charge"}
    assert load(files, TASK_MODULES="shop.tasks") == "charge"
    assert load(files, TASK_MODULES="shop.tasks,handlers") == "charge shout"


@pytest.mark.parametrize(
    "files",
    [
        {"handlers/shout.py": "shout"},  # here a checkout's own `handlers` is on the path, too
        {"handlers/shout.py": "shout", "handlers/__init__.py": ""},
        {"handlers/__init__.py": "shout"},
        {"handlers.py": "shout"},
    ],
)
def test_the_folder_comes_next(load: Load, files: dict[str, str]) -> None:
    assert load(files) == "shout"
    assert load(files, TASK_MODULES="") == "shout"


def test_the_built_in_ones_come_last(load: Load) -> None:
    assert load({}) == BUILT_IN
    assert load({"handler/shout.py": "shout"}) == BUILT_IN


def test_the_handlers_of_a_folder_use_what_is_beside_them(load: Load) -> None:
    files = {"handlers/shout.py": "shout", "shop/models.py": "", "handlers/_helper.py": ""}
    before = "import sys; sys.path.append('/')\n"
    assert load(files, before) == "shout"


@pytest.mark.parametrize("name", ["shop.tasks", "shop", "queue.tasks"])
def test_a_module_that_is_nowhere(load: Load, name: str) -> None:
    assert load({}, TASK_MODULES=name) == (
        f"error: handler module '{name}' not found: looked in HERE and on Python's path; run "
        "raytasks in the folder that has it, or set RAYTASKS_TASK_MODULES (raytasks.builtin are "
        "the built-in handlers)"
    )


def test_a_folder_without_handlers(load: Load) -> None:
    for files in ({"handlers/__init__.py": ""}, {"handlers/_shout.py": "shout"}):
        assert load(files).startswith("error: no handler found in handlers (looked in HERE); ")


def test_another_module_of_that_name_that_is_imported_already(load: Load) -> None:
    before = f"import sys; sys.path.append({str(Path(__file__).parents[2])!r}); import handlers\n"
    before += "sys.path.pop()\n"
    # The interpreter's own path begins with the working directory: a module of a script does not.
    before = "import sys; sys.path.remove('')\n" + before
    told = load({"handlers/shout.py": "shout"}, before)
    assert told.startswith("error: handler module 'handlers' of HERE cannot be loaded: another")
