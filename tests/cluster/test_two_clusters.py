"""Two clusters on one PostgreSQL, as in a rolling upgrade: each task succeeds once."""

from pathlib import Path

import pytest

from tests.cluster.handover import hand_over
from tests.postgres_server import PostgresServer


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True], ids=["SIGTERM", "SIGKILL"])
def test_the_first_cluster_ends(
    no_service: None, postgres_server: PostgresServer, tmp_path: Path, killed: bool
) -> None:
    url = postgres_server.new_database()
    seen = hand_over(
        tmp_path,
        url,
        tasks=60,
        seconds=8.0,
        after=0.0,
        killed=killed,
        LEASE_SECONDS="6",
    )
    seen.check(killed=killed)
