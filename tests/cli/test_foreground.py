"""A call to Ray from the foreground: it ends with Ray, whatever Ray's own call does."""

import threading
from pathlib import Path
from typing import Any

import pytest

from raytasks.cli.foreground import while_there
from raytasks.cluster.processes import RayEnded


class Head:
    """A head of Ray that lives until somebody ends it."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def alive(self) -> bool:
        return not self.ended.is_set()

    def last_words(self) -> str:
        return "drained"


@pytest.fixture
def head() -> Any:
    return Head()


def test_what_a_call_returns_or_raises_comes_back(head: Any, tmp_path: Path) -> None:
    for ray in (head, None):
        assert while_there(ray, lambda: 7) == 7
        with pytest.raises(FileNotFoundError):
            while_there(ray, (tmp_path / "nothing").read_text)


def test_a_call_that_waits_for_an_ended_ray_is_given_up(head: Any) -> None:
    never = threading.Event()

    def call() -> None:
        head.ended.set()
        never.wait()

    with pytest.raises(RayEnded, match="Ray has ended by itself: drained"):
        while_there(head, call)
    never.set()
