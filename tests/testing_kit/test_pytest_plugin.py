"""The plugin for pytest, in a pytest of its own."""

from pathlib import Path

from tests.testing_kit.own_pytest import run_pytest

_HANDLERS = """
from raytasks import handler

@handler("{name}")
def it(payload: int) -> int:
    return payload + 1
"""

_TESTS = """
import pytest
import mine

def test_the_handlers_of_task_modules(raytasks_queue):
    assert raytasks_queue.http.get("/task-types").json()["task_types"][0]["task_type"] == "theirs"

class TestMarked:
    pytestmark = pytest.mark.raytasks(handlers=["mine"], max_backlog=1)

    def test_others_by_a_marker(self, raytasks_queue):
        task = raytasks_queue.submit("mine", 1)
        raytasks_queue.run_until_idle()
        assert task.result == 2

    @pytest.mark.raytasks(handlers=[mine.it], seed=1)
    def test_the_nearest_marker_counts(self, raytasks_queue):
        assert [raytasks_queue.submit("mine", n).state for n in range(2)] == ["PENDING"] * 2

@pytest.mark.raytasks("mine")
def test_a_marker_without_names(raytasks_queue):
    pass
"""


def test_the_fixture_and_its_marker(tmp_path: Path) -> None:
    for name in ("mine", "theirs"):
        (tmp_path / f"{name}.py").write_text(_HANDLERS.format(name=name))
    (tmp_path / "test_it.py").write_text(_TESTS)
    done = run_pytest(tmp_path, TASK_MODULES="theirs")
    assert "3 passed, 1 error in" in done.stdout, done.stdout + done.stderr
    assert "name what you give: @pytest.mark.raytasks(handlers=[...])" in done.stdout
    assert (done.returncode, done.stderr) == (1, "")
