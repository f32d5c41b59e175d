"""A pytest of its own, with the plugin of the test kit."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_pytest(
    folder: Path, *options: str, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run the tests in a folder; a warning is an error, unless the options say otherwise."""
    # By its name, too: a test of a tree that is not installed has the plugin of this tree.
    plugins = ["-p", "raytasks.pytest_plugin", "-p", "no:asyncio", "-p", "no:cacheprovider"]
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--strict-markers",
            "-W",
            "error",
            *plugins,
            *options,
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
