"""The short chaos run: load and one fault of each kind at the least, on both databases."""

from pathlib import Path

import pytest

from tests.chaos.run import Options, run_chaos
from tests.postgres_server import PostgresServer

SECONDS = 20.0
RATE = 12.0
"""Tasks a second: other tests run beside it."""

CRASH_SECONDS = 10.0
"""How far apart those are that kill a process, whose start takes a processor for two seconds."""

# With what follows the load: the service finishes every task, and stops.
pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("no_service")]


def test_nothing_accepted_is_lost_on_sqlite(tmp_path: Path) -> None:
    options = Options(
        seed=11,
        seconds=SECONDS,
        rate=RATE,
        crash_seconds=CRASH_SECONDS,
        freeze_tracker=False,  # to save its time; `test_service_killed.py` freezes it, under load
    )
    verdict = run_chaos(options, tmp_path, f"sqlite:///{tmp_path}/t.db")
    assert not verdict.violations, verdict.text


@pytest.mark.slow
def test_nothing_accepted_is_lost_on_postgresql(
    tmp_path: Path, postgres_server: PostgresServer, postgres_url: str
) -> None:
    options = Options(seed=12, seconds=SECONDS, rate=RATE, freeze_tracker=False)  # to save its time
    verdict = run_chaos(options, tmp_path, postgres_url, postgres_server)
    assert not verdict.violations, verdict.text
