"""Runs the blocks of one document, one after the other, in a folder of its own.

All shell blocks share one shell. A Python block is a file if its first line names one, else a
script.
"""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import yaml
from dotenv import dotenv_values

from raytasks.settings import Settings, load_settings
from tests.docs.blocks import UNTIL_STOPPED, Block

URL = "http://127.0.0.1:8000"
"""Where the service is in all documents; the blocks are run with the real one."""

SHELL = ("sh", "bash")
_END = "=== the block has ended ==="
_LOOP = f'set -euo pipefail; while read -r file; do source "$file" </dev/null; echo "{_END}"; done'


class Shell:
    """A shell that keeps its folder and its variables from block to block."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._script = folder.with_name(f"{folder.name}.block")
        self._process = subprocess.Popen(
            ["bash", "--norc", "-c", _LOOP],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, code: str) -> str:
        """Run a block, and return what it prints. Raises `AssertionError` if a command fails."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._script.write_text(code, encoding="utf-8")
        self._process.stdin.write(f"{self._script}\n")
        self._process.stdin.flush()
        printed = []
        for line in self._process.stdout:
            if line.rstrip("\n").endswith(_END):
                printed.append(line.rstrip("\n").removesuffix(_END))
                return "".join(printed)
            printed.append(line)
        raise AssertionError(f"a command failed:\n{code}\n{''.join(printed)}")

    def environment(self) -> dict[str, str]:
        """Return what the next command would find in its environment."""
        entries = self.run("env -0 | tr '\\0' '\\001'").split("\x01")
        return dict(entry.split("=", 1) for entry in entries if "=" in entry)

    def folder(self) -> Path:
        """Return the folder that the shell is in."""
        return Path(self.run("pwd").strip())

    def close(self) -> None:
        """End the shell, and what it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        self._process.communicate(timeout=10)


class Session:
    """Runs the blocks of one document against the service at `url`."""

    def __init__(self, folder: Path, url: str, environment: Mapping[str, str], python: str) -> None:
        self.folder = folder
        self.url = url
        self._python = python
        self.shell = Shell(folder, {**environment, "RAYTASKS_URL": url})
        self._printed = ""

    def run(self, block: Block) -> None:
        """Run one block, or read it. Raises `AssertionError` where it is wrong."""
        code = block.code.replace(URL, self.url)
        match block.language:
            case "python" if block.file:
                self._write(block.file, code)
            case "python":
                self._printed = self.shell.run(f"python - <<'END'\n{code}\nEND")
            case "sh" | "bash":
                self._printed = self.shell.run(code)
            case "text":
                assert_like(self._printed, code, block.place)
            case "json":
                json.loads(code)
            case "yaml":
                assert isinstance(yaml.safe_load(code), dict)
            case "ini":
                self._set(block.code)
            case other:
                raise AssertionError(f"{block.place}: no test runs the language {other!r}")

    def finish(self) -> None:
        """Run the tests among the files, and import the other files."""
        here = self.shell.folder()
        files = [file for file in sorted(here.rglob("*.py")) if ".venv" not in file.parts]
        self.shell.close()
        for file in files:
            if not file.name.startswith("test_"):
                name = ".".join(file.relative_to(here).with_suffix("").parts)
                self._run_python(here, "-W", "error", "-c", f"import {name}")
        if any(file.name.startswith("test_") for file in files):
            plugins = ["-p", "no:asyncio", "-p", "no:cacheprovider", "-p", "raytasks.pytest_plugin"]
            # Of packages that were there before pytest, in a process that was forked.
            forked = ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
            self._run_python(here, "-m", "pytest", "-q", "-W", "error", *forked, *plugins)

    def _run_python(self, folder: Path, *arguments: str) -> None:
        root = str(Path(__file__).parents[2])
        done = subprocess.run(
            [self._python, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), root))},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _write(self, name: str, code: str) -> None:
        file = self.shell.folder() / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.parent.name == "handlers":  # else the folder of the checkout would be found
            (file.parent / "__init__.py").touch()
        file.write_text(code, encoding="utf-8")

    def _set(self, code: str) -> None:
        """Add lines to the document's `.env`, and read the settings with them."""
        values = dotenv_values(stream=io.StringIO(code))
        assert values
        known = {name.lower() for name in Settings.model_fields}
        given = {
            name.removeprefix("RAYTASKS_").lower(): value
            for name, value in values.items()
            if name.startswith("RAYTASKS_")
        }
        assert set(given) <= known | {"url", "api_key", "namespace"}, set(given) - known
        load_settings(**{name: value for name, value in given.items() if name in known})


def assert_like(printed: str, expected: str, place: str) -> None:
    """Check what a block prints against what its document says; `…` stands for anything."""
    lines = [re.escape(line.rstrip()).replace("…", ".*") for line in expected.strip().splitlines()]
    shown = "\n".join(line.rstrip() for line in printed.strip().splitlines())
    assert re.search("\n".join(lines), shown, re.DOTALL), (
        f"{place}: the document says\n{expected}\nand what is printed is\n{printed}"
    )


def run_all(session: Session, blocks: Iterable[Block]) -> None:
    """Run blocks in their order, then the tests and modules that they have written."""
    for block in blocks:
        assert block.marker != UNTIL_STOPPED, f"{block.place}: for the tutorial only"
        session.run(block)
    session.finish()


@contextlib.contextmanager
def session_in(
    folder: Path, url: str, commands: Path | None = None, /, **environment: str
) -> Iterator[Session]:
    """Give a session whose folder is there, and end its shell.

    `python` and `raytasks` are those in the folder `commands`, by default the installed ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    installed = str(Path(sys.executable).parent)
    python = sys.executable if commands is None else str(commands / "python")
    first = [] if commands is None else [str(commands)]
    path = os.pathsep.join((*first, installed, os.environ["PATH"]))
    variables = {**os.environ, **environment, "PATH": path, "COLUMNS": "120"}
    session = Session(folder, url, variables, python)
    try:
        yield session
    finally:
        session.shell.close()
