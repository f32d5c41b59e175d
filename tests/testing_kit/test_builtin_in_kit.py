"""The built-in handlers, run by the test kit."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from raytasks.testing import Queue

_SAMPLES = Path(__file__).parents[2] / "samples"


def _picture() -> str:
    data = base64.b64encode((_SAMPLES / "landscape.jpg").read_bytes()).decode()
    return f"data:image/jpeg;base64,{data}"


@pytest.mark.parametrize(
    ("task_type", "payload", "found"),
    [
        ("text_processing", {"text": "Ray moves the work."}, {"word_count": 4}),
        (
            "ai_summarization",
            {"document": (_SAMPLES / "essay.txt").read_text()},
            {"method": "lexrank"},
        ),
        (
            "batch_processing",
            json.loads((_SAMPLES / "numbers.json").read_text()),
            {"operation": "statistics", "failed_count": 0},
        ),
    ],
)
def test_each_completes(task_type: str, payload: Any, found: dict[str, Any]) -> None:
    with Queue(["handlers"]) as queue:
        task = queue.submit(task_type, payload)
        [run] = queue.run_until_idle()
        assert task.state == "COMPLETED", task.error
        assert task.result == run.result
        assert found.items() <= task.result.items()


def test_the_files_of_an_image_are_served() -> None:
    with Queue(["handlers"]) as queue:
        task = queue.submit("image_processing", {"image_url": _picture(), "width": 64})
        [run] = queue.run_until_idle()
        assert task.state == "COMPLETED", task.error
        assert task.result["resized"]["width"] == 64
        assert len(run.artifacts) == 2
        name = task.result["resized_url"].rpartition("/")[2]
        assert queue.http.get(task.result["resized_url"]).content == run.artifacts[name]


def test_a_part_of_the_handlers() -> None:
    with Queue(["handlers.text_processing"]) as queue:
        listed = queue.http.get("/task-types").json()["task_types"]
        assert [item["task_type"] for item in listed] == ["text_processing"]
