"""The verdict of `make audit`: clean is only what was checked."""

from typing import Any

import pytest

from tests.audit import verdict

CLEAN = {"name": "a", "version": "1", "vulns": []}
HOLE = {
    "name": "b",
    "version": "2",
    "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}, {"id": "CVE-2", "fix_versions": []}],
}
UNKNOWN = {"name": "c", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("found", "code", "said"),
    [
        ([CLEAN], 0, "1 of 1 packages checked; 0 known holes"),
        ([CLEAN, HOLE], 1, "b 2: CVE-1, fixed in 3"),
        ([CLEAN, HOLE], 1, "b 2: CVE-2, fixed in no version"),
        ([CLEAN, UNKNOWN], 1, "not checked, since the service does not know them: c"),
        ([UNKNOWN], 2, "NOTHING was checked"),
        ([], 2, "NOTHING was checked"),
    ],
)
def test_what_is_told(found: list[dict[str, Any]], code: int, said: str) -> None:
    lines, ended = verdict(found)
    assert ended == code
    assert said in "\n".join(lines)
