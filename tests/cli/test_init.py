"""`raytasks init`: what it writes works as it is."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raytasks.settings import load_settings

Run = Callable[..., Any]
PROGRAM = """
from raytasks.handling.registry import Registry
from raytasks.settings import load_settings
print(sorted(Registry.load(load_settings().task_modules, ".").task_types))
"""
FILES = {
    ".env",
    "README.md",
    "handlers/__init__.py",
    "handlers/greeting.py",
    "tests/test_greeting.py",
}


def written(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", ["", "shop/tasks"])
def test_it_writes_a_project(run: Run, tmp_path: Path, name: str) -> None:
    done = run("init", *([name] if name else []))
    assert (done.code, done.err) == (0, "")
    assert written(tmp_path / name) == FILES
    last = done.out.splitlines()[-1]
    assert last == ("next: raytasks up" if not name else f"next: cd {name} && raytasks up")


def test_its_test_passes_and_its_handler_is_found(run: Run, tmp_path: Path) -> None:
    assert run("init").code == 0
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert tests.returncode == 0, tests.stdout + tests.stderr
    assert "2 passed" in tests.stdout
    assert load_settings().database_url == f"sqlite:///{tmp_path}/tasks.db"
    # Not in this process: its `handlers` would stay there.
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert found.stdout.strip() == "['greeting']"


def test_what_is_there_stays(run: Run, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    done = run("init")
    assert (done.code, done.out) == (2, "")
    assert "README.md is there already" in done.err
    assert written(tmp_path) == {"README.md"}


def test_a_folder_that_cannot_be_made_is_a_2(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("init", "file")
    assert done.code == 2
    assert "error: file: " in done.err
