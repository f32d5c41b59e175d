"""A handler takes all memory: Ray ends its process, and the history says why.

This module runs a service of its own, and so must come before the one that all others share.
"""

from pathlib import Path

import psutil

from tests.cluster.conftest import start_service

_ROOM = 6 * 2**30  # what the service itself takes, and some more


def test_want_of_memory_is_told(tmp_path: Path) -> None:
    memory = psutil.virtual_memory()
    limit = min(0.9, (memory.total - memory.available + _ROOM) / memory.total)
    service = start_service(
        tmp_path,
        MAX_CRASHES="0",
        RAY_memory_usage_threshold=f"{limit:.3f}",
        RAY_memory_monitor_refresh_ms="100",
    )
    for task_type in ("scripted_remote", "scripted"):
        ended = service.run(task_type, {"step": "hog"})
        assert ended["state"] == "FAILED"
        assert [attempt["outcome"] for attempt in ended["attempts"]] == ["out_of_memory"]
        assert "memory" in ended["error"]["message"]
        assert service.run(task_type, {})["state"] == "COMPLETED"
    service.http.close()
    assert service.stop() == 0, service.log.read_text()
