"""The metrics while tracker, replica and service are killed: the shorter form of the proof."""

from pathlib import Path

import pytest

from tests.metrics_proof import prove


@pytest.mark.slow
@pytest.mark.usefixtures("no_service")
@pytest.mark.timeout(300)
def test_they_add_up_whatever_is_killed(tmp_path: Path) -> None:
    evidence = prove(tmp_path, tasks=4_000)
    assert evidence.submitted == 4_000
    assert evidence.submitted + evidence.retried == evidence.finished
    assert evidence.retried
    assert evidence.failed > evidence.retried
