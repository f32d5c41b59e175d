"""`raytasks init`: a small project to begin with."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from raytasks.cli import tables
from raytasks.cli.options import UsageError

_FILES = {
    "handlers/__init__.py": "handlers/__init__.py",
    "handlers/greeting.py": "handlers/greeting.py",
    "tests/test_greeting.py": "tests/test_greeting.py",
    ".env": "dotenv",
    "README.md": "README.md",
}
"""The files of a new project, and their sources in the package."""


def init(
    folder: Annotated[Path, typer.Argument(help="Where; it is made if it is not there.")] = Path(),
) -> None:
    """Write a project to begin with: a handler, its test, settings, a README.

    No existing file is changed.
    """
    there = [name for name in _FILES if (folder / name).exists()]
    if there:
        raise UsageError(
            f"{folder}: {', '.join(there)} is there already; nothing was written: "
            "name another folder"
        )
    templates = files("raytasks.cli").joinpath("project")
    try:
        for name, source in _FILES.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(templates.joinpath(source).read_text("utf-8"), "utf-8")
            tables.console.print(f"wrote {target}", markup=False, soft_wrap=True)
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror or error}; name another folder") from None
    step = "" if folder == Path() else f"cd {folder} && "
    tables.console.print(f"next: {step}raytasks up", markup=False, soft_wrap=True)
