"""Runs the checks of prose and names: `python -m tests.house [files]`, without files on all."""

import subprocess
import sys
from pathlib import Path

from tests.house import names, prose

_NOT_OURS = ("raytasks/web/", "benchmarks/results/", "tests/upgrade/blocks_0_1/")
_NOT_YET = ("tests/", "benchmarks/", "CHANGELOG.md", "client/README.md")
"""Places whose prose is not mended yet: they are checked where they are named."""
_NO_MODULES_OF_OURS = (
    "raytasks/store/migrations/",
    "raytasks/cli/project/",
    "raytasks/models.py",
    "raytasks/states.py",
    "raytasks/submission.py",
)
"""Modules that Alembic names, those of a user's project, and the shims."""


def main() -> int:
    """Print each fault; return 1 if there is one."""
    asked = sys.argv[1:] or [
        name for name in _tracked("*.py", "*.md") if not name.startswith(_NOT_YET)
    ]
    faults = [
        str(fault)
        for name in asked
        if not name.startswith(_NOT_OURS)
        for fault in prose.check(Path(name))
    ]
    modules = [
        name for name in _tracked("raytasks/*.py") if not name.startswith(_NO_MODULES_OF_OURS)
    ]
    faults += names.check(map(Path, modules))
    print("\n".join(faults) or "prose and names: nothing to mend")
    return 1 if faults else 0


def _tracked(*patterns: str) -> list[str]:
    found = subprocess.run(
        ["git", "ls-files", *patterns], capture_output=True, text=True, check=True
    )
    return sorted(set(found.stdout.splitlines()))


if __name__ == "__main__":
    sys.exit(main())
