"""Checks the pinned requirements for known holes: `make audit`.

It asks PyPI's vulnerability service, by pip-audit, which runs in an environment of its own. What
was not checked is never passed off as clean: it fails then, and says so.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FILES = ("requirements.txt", "requirements-dev.txt")
PIP_AUDIT = "pip-audit==2.10.1"

_UNCHECKED = "No vulnerability service could be asked, so NOTHING was checked"


class NotChecked(Exception):
    """pip-audit has not told anything. The text says why."""


def main() -> int:
    """Check all files; return 0 only if every package was checked and none has a known hole."""
    try:
        found = _ask()
    except NotChecked as error:
        print(f"{_UNCHECKED}: {error}", file=sys.stderr)
        return 2
    lines, code = verdict(found)
    print("\n".join(lines), file=sys.stderr if code else sys.stdout)
    return code


def verdict(found: Sequence[Mapping[str, Any]]) -> tuple[list[str], int]:
    """Return what to tell of pip-audit's report, and the exit code."""
    holes = [
        f"{item['name']} {item['version']}: {hole['id']}, fixed in "
        f"{', '.join(hole['fix_versions']) or 'no version'}"
        for item in found
        for hole in item.get("vulns", ())
    ]
    skipped = [item["name"] for item in found if "skip_reason" in item]
    if len(skipped) == len(found):
        return [f"{_UNCHECKED}: it does not know any of {len(found)} packages"], 2
    lines = [*holes]
    if skipped:
        lines.append(f"not checked, since the service does not know them: {', '.join(skipped)}")
    checked = len(found) - len(skipped)
    lines.append(f"{checked} of {len(found)} packages checked; {len(holes)} known holes")
    return lines, 1 if holes or skipped else 0


def _ask() -> list[dict[str, Any]]:
    """Return pip-audit's report on all packages. Raises `NotChecked`."""
    uv = Path(sys.executable).with_name("uv")
    options = ["--disable-pip", "--no-deps", "--format=json", "--progress-spinner=off"]
    files = [option for file in FILES for option in ("--requirement", file)]
    command = [str(uv), "tool", "run", "--quiet", PIP_AUDIT, *options, *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        report: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        words = done.stderr.strip().splitlines()
        raise NotChecked(words[-1][:300] if words else "no answer") from None
    return report


if __name__ == "__main__":
    sys.exit(main())
