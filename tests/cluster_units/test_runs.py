"""Which `raytasks up` run here: two of them do not choose their ports at the same time."""

import threading
from pathlib import Path

import pytest

from raytasks.cluster import runs


def test_a_start_waits_until_the_one_before_it_has_its_ports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    order: list[str] = []
    came = threading.Event()

    def start() -> None:
        came.set()
        with runs.starting():
            order.append("second")

    second = threading.Thread(target=start)
    with runs.starting():
        second.start()
        assert came.wait(10)
        second.join(0.2)
        assert second.is_alive()
        order.append("first")
    second.join(10)
    assert order == ["first", "second"]
    assert runs.present_runs() == []
