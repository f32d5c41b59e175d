"""A handler takes all memory: Ray ends its process, and the history says why."""

from pathlib import Path

import psutil
import pytest

from tests.cluster.conftest import Service, Services, start_service
from tests.cluster.joined_node import joined_node
from tests.memory_handlers import MEMORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

_ROOM = 6 * 2**30  # bytes: what the service itself takes, and some more


@pytest.fixture
def small_service(services: Services) -> Service:
    """A service whose node has some gigabytes of memory, and whose tasks may crash once."""

    def start(folder: Path) -> Service:
        memory = psutil.virtual_memory()
        limit = min(0.9, (memory.total - memory.available + _ROOM) / memory.total)
        return start_service(
            folder,
            TASK_MODULES="tests.scripted,tests.memory_handlers",
            MAX_CRASHES="1",
            RAY_memory_usage_threshold=f"{limit:.3f}",
            RAY_memory_monitor_refresh_ms="100",
        )

    return services.get("small_service", start)


def test_want_of_memory_is_told(small_service: Service) -> None:
    # Which warm runner Ray ends first says nothing: the attempt is charged from the second time on.
    for task_type, attempts in (("scripted_remote", 2), ("scripted", 3)):
        ended = small_service.run(task_type, {"step": "hog"})
        assert ended["state"] == "FAILED"
        outcomes = [attempt["outcome"] for attempt in ended["attempts"]]
        outcomes = [outcome for outcome in outcomes if outcome != "released"]
        assert outcomes == ["out_of_memory"] * attempts, ended
        assert "memory" in ended["error"]["message"]
        assert small_service.run(task_type, {})["state"] == "COMPLETED"


def test_the_next_attempt_has_more_memory_on_another_node(
    small_service: Service, tmp_path: Path
) -> None:
    with joined_node(small_service, tmp_path / "worker.log"):
        ended = small_service.run(
            "hungry",
            {},
        )
    assert ended["state"] == "COMPLETED", ended
    short, again = ended["attempts"]
    assert (short["outcome"], again["outcome"]) == ("out_of_memory", "succeeded")
    assert short["node_id"] != again["node_id"]
    assert ended["result"]["memory"] == 2 * MEMORY
