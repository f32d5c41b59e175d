"""A forked process is like one that was started: its own folder, environment, streams and end."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.forked_python import forked_commands


@pytest.fixture(name="commands", scope="module")
def served_commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with forked_commands(tmp_path_factory.mktemp("commands")) as folder:
        yield folder


def run(
    commands: Path, *arguments: str, stdin: str = "", **environment: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(commands / "python"), *arguments],
        cwd=commands,
        env={**os.environ, **environment},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_nothing_of_ours_is_there_before_it_is_imported(commands: Path) -> None:
    code = (
        "import sys\nours = [name for name in sys.modules if name.startswith(('raytasks', 'ray.'))]"
    )
    done = run(commands, "-c", f"{code}\nprint(ours, 'fastapi' in sys.modules)")
    assert (done.stdout, done.stderr) == ("[] True\n", "")


def test_it_has_folder_environment_and_streams_of_its_caller(commands: Path) -> None:
    code = "import os, sys; print(os.getcwd(), os.environ['ONE'], sys.argv, sys.path[1])"
    done = run(commands, "-", "word", stdin=code, ONE="two words", PYTHONPATH="/no/such/place")
    assert done.stdout == f"{commands} two words ['-', 'word'] /no/such/place\n"


@pytest.mark.parametrize(
    ("code", "ends_with", "says"),
    [
        ("pass", 0, ""),
        ("raise SystemExit(7)", 7, ""),
        ("raise SystemExit('no')", 1, "no\n"),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("import warnings; warnings.warn('careful')", 1, "UserWarning: careful"),
        ("import os; os.kill(os.getpid(), 9)", 247, ""),
    ],
)
def test_its_caller_hears_how_it_ended(
    commands: Path, code: str, ends_with: int, says: str
) -> None:
    done = run(commands, "-W", "error", "-c", code)
    assert done.returncode == ends_with
    assert says in done.stderr
    assert bool(done.stderr) == bool(says)


def test_what_it_cannot_do_it_says(commands: Path) -> None:
    assert "ValueError: not known here: python --help" in run(commands, "--help").stderr
