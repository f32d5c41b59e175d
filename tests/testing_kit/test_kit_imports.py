"""The test kit needs no Ray, and only its plugin needs pytest."""

import subprocess
import sys
from pathlib import Path

import pytest

_WITH_A_QUEUE = """
import sys
from raytasks import handler
from raytasks.testing import Queue, run_handler

@handler("plain")
def plain(payload: dict) -> dict:
    return payload

assert run_handler(plain, {"a": 1}).result == {"a": 1}
with Queue([plain]) as queue:
    task = queue.submit("plain", {"a": 1})
    queue.run_until_idle()
    assert queue.http.get(f"/tasks/{task.task_id}").json()["result"] == {"a": 1}
"""

_PLUGIN = "import sys, raytasks.pytest_plugin"


@pytest.mark.parametrize(
    ("code", "heavy"),
    [(_WITH_A_QUEUE, {"ray", "pytest"}), (_PLUGIN, {"ray", "sqlalchemy", "fastapi", "httpx"})],
)
def test_what_is_imported(code: str, heavy: set[str]) -> None:
    script = f"{code}\nprint(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
