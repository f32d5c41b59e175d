"""The reference of the command line, as Typer writes it."""

import re
import subprocess
import sys

INTRODUCTION = """\
# Command line

This page is made from the commands themselves. `raytasks COMMAND --help` says the same.

"""


def page() -> str:
    """Return the page. Raises `subprocess.CalledProcessError` if Typer cannot write it."""
    command = [sys.executable, "-m", "typer", "raytasks.cli", "utils", "docs", "--name", "raytasks"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    text = done.stdout.partition("# `raytasks`\n")[2]
    # Typer's list of a group's commands cuts the sentences off.
    text = re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+\n?", "", text)
    return INTRODUCTION + text.strip().replace("```console", "```text") + "\n"
