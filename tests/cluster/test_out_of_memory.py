"""A handler takes all memory: Ray ends its process, and the history says why."""

from pathlib import Path

import psutil
import pytest

from tests.cluster.conftest import Service, Services, start_service

pytestmark = pytest.mark.slow

_ROOM = 6 * 2**30  # bytes: what the service itself takes, and some more


@pytest.fixture
def small_service(services: Services) -> Service:
    """A service whose node has some gigabytes of memory, and whose tasks may not crash once."""

    def start(folder: Path) -> Service:
        memory = psutil.virtual_memory()
        limit = min(0.9, (memory.total - memory.available + _ROOM) / memory.total)
        return start_service(
            folder,
            TASK_MODULES="tests.scripted",
            MAX_CRASHES="0",
            RAY_memory_usage_threshold=f"{limit:.3f}",
            RAY_memory_monitor_refresh_ms="100",
        )

    return services.get("small_service", start)


def test_want_of_memory_is_told(small_service: Service) -> None:
    # Which warm runner Ray ends first says nothing: only the second time the attempt is charged.
    for task_type, attempts in (("scripted_remote", 1), ("scripted", 2)):
        ended = small_service.run(task_type, {"step": "hog"})
        assert ended["state"] == "FAILED"
        outcomes = [attempt["outcome"] for attempt in ended["attempts"]]
        outcomes = [outcome for outcome in outcomes if outcome != "released"]
        assert outcomes == ["out_of_memory"] * attempts, ended
        assert "memory" in ended["error"]["message"]
        assert small_service.run(task_type, {})["state"] == "COMPLETED"
