"""Faults of PostgreSQL under a whole service: what got a 202 is done, `/health` tells the rest.

Its processes are killed, its disk is full, it fails over to its standby.
"""

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from raytasks.cli.db import prepare_database
from raytasks.settings import SettingsError
from tests.local_service import Api, LocalService, serving
from tests.postgres_pair import PostgresPair, postgres_pair
from tests.postgres_server import PostgresServer, migrate
from tests.tracking import PATIENCE


async def submitted(api: Api, key: str, **payload: Any) -> dict[str, Any] | None:
    """Submit a task; None if it is refused for now."""
    body = {"task_type": "scripted", "payload": payload}
    answer = await api.client.post("/tasks/", json=body, headers={"Idempotency-Key": key})
    assert answer.status_code in (200, 202, 503), answer.text
    return None if answer.status_code == 503 else answer.json()


async def accepted(api: Api, key: str, **payload: Any) -> dict[str, Any]:
    """Submit a task again and again, as the clients do, until it is accepted."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if (task := await submitted(api, key, **payload)) is not None:
                return task
            await asyncio.sleep(0.05)


async def health(api: Api) -> tuple[int, set[str]]:
    """Return the status of `/health`, and the codes of its reasons."""
    answer = await api.client.get("/health")
    return answer.status_code, {reason["code"] for reason in answer.json()["reasons"]}


async def database_error(api: Api) -> str:
    """Return what `/health` says that the database says."""
    answer = await api.client.get("/health")
    return answer.json()["database"]["error"] or ""


async def wait_for_health(api: Api, status: int) -> set[str]:
    async with asyncio.timeout(PATIENCE):
        while True:
            found, codes = await health(api)
            if found == status:
                return codes
            await asyncio.sleep(0.05)


async def all_done_once(api: Api, tasks: list[dict[str, Any]]) -> None:
    """Check that each task has ended well, and that there are no others."""
    for task in tasks:
        ended = await api.finished(task)
        assert (ended["state"], ended["attempt"]) == ("COMPLETED", 1)
    assert await api.total() == len({task["task_id"] for task in tasks})


_END_ALL = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE application_name = 'raytasks' AND datname = current_database()"
)


async def test_processes_of_the_server_that_are_killed_again_and_again(
    postgres_url: str, tmp_path: Path
) -> None:
    tasks = []
    async with serving(LocalService(postgres_url, tmp_path), runner=True) as api:
        with psycopg.connect(postgres_url, autocommit=True) as killer:
            for number in range(30):
                if number % 3 == 0:
                    killer.execute(_END_ALL)
                tasks.append(await accepted(api, f"key-{number}"))
        await all_done_once(api, tasks)
        assert await wait_for_health(api, 200) <= {"calls_by_ray"}


def fill(other: psycopg.Connection[Any], rows: int) -> None:
    """Insert so many large rows at a time, until the disk is full."""
    insert = "INSERT INTO others SELECT repeat('y', 8000) FROM generate_series(1, %s)"
    with suppress(psycopg.errors.DiskFull):
        while True:
            other.execute(insert, (rows,))


class TestFullDisk:
    @pytest.fixture
    def small_disk(self, postgres_server: PostgresServer) -> Iterator[Path]:
        """A folder of the server's user, on a disk of its own with 48 MB."""
        place = Path(tempfile.mkdtemp(prefix="raytasks-small-"))
        mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "raytasks-small", str(place)]
        owner = Path(postgres_server.url("x").partition("host=")[2])
        try:
            done = subprocess.run(mount, capture_output=True, text=True, check=False)
        except OSError as error:
            pytest.skip(f"no small disk can be mounted: {error}")
        if done.returncode:
            place.rmdir()
            pytest.skip(f"no small disk can be mounted: {done.stderr.strip()}")
        shutil.chown(place, owner.owner(), owner.group())
        yield place
        subprocess.run(["umount", str(place)], check=True)
        place.rmdir()

    @pytest.fixture
    def small_url(self, postgres_server: PostgresServer, small_disk: Path) -> Iterator[str]:
        """A database on that disk, with our tables."""
        postgres_server.run(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
        postgres_server.run("CREATE DATABASE small TEMPLATE template0 TABLESPACE small")
        url = postgres_server.url("small")
        migrate(url)
        yield url
        postgres_server.drop(url)
        postgres_server.run("DROP TABLESPACE small")

    async def test_it_is_told_and_all_goes_on_once_there_is_space(
        self, small_url: str, tmp_path: Path
    ) -> None:
        filler = "x" * 8000
        tasks = []
        async with serving(LocalService(small_url, tmp_path), runner=True) as api:
            tasks.append(await accepted(api, "before", value="x"))
            with psycopg.connect(small_url, autocommit=True) as other:
                other.execute("CREATE TABLE others (text text STORAGE PLAIN)")
                for rows in (200, 1):
                    fill(other, rows)
                # What fits into the pages that are there is still accepted.
                number = 0
                while (task := await submitted(api, f"key-{number}", value=filler)) is not None:
                    tasks.append(task)
                    number += 1
                assert await wait_for_health(api, 503) == {"database_away"}
                answer = await api.client.get("/readyz")
                assert answer.status_code == 503
                other.execute("DROP TABLE others")
            tasks.append(await accepted(api, f"key-{number}", value=filler))
            await all_done_once(api, tasks)
            assert "database_away" not in await wait_for_health(api, 200)


class TestReadOnly:
    async def test_it_is_told_and_all_goes_on_when_it_is_over(
        self, postgres_server: PostgresServer, postgres_url: str, tmp_path: Path
    ) -> None:
        name = make_url(postgres_url).database
        async with serving(LocalService(postgres_url, tmp_path), runner=True) as api:
            tasks = [await accepted(api, "before")]
            await api.finished(tasks[0])
            postgres_server.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
            with psycopg.connect(postgres_url, autocommit=True) as killer:
                killer.execute(_END_ALL)  # only new sessions are read-only
            assert await wait_for_health(api, 503) == {"database_away"}
            async with asyncio.timeout(PATIENCE):  # first it says how its sessions ended
                while "takes no writes" not in await database_error(api):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert await submitted(api, "between") is None
            # A session that is open stays read-only, so the service has to leave it.
            postgres_server.run(f"ALTER DATABASE {name} RESET default_transaction_read_only")
            tasks.append(await accepted(api, "between"))
            await all_done_once(api, tasks)
            assert await wait_for_health(api, 200) <= {"calls_by_ray"}


class TestFailover:
    @pytest.fixture
    def pair(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresPair]:
        with postgres_pair(tmp_path_factory.mktemp("runtime")) as pair:
            pair.primary.run("CREATE DATABASE service")
            pair.start_standby()
            yield pair

    async def test_the_standby_takes_over_with_all_that_was_accepted(
        self, pair: PostgresPair, tmp_path: Path
    ) -> None:
        url, mark = pair.url("service"), tmp_path / "go"
        migrate(url)
        async with serving(LocalService(url, tmp_path), runner=True) as api:
            tasks = [await accepted(api, f"before-{number}") for number in range(5)]
            running = await accepted(api, "running", step="wait_file", file=str(mark))
            await api.begun(running)
            assert pair.standby_says("SELECT pg_is_in_recovery()") is True
            with pytest.raises(SettingsError, match="DATABASE_URL: the server takes no writes"):
                await asyncio.to_thread(prepare_database, pair.standby_url("service"))
            await asyncio.to_thread(pair.kill_primary)
            # The standby only reads: no connection to it counts.
            assert await submitted(api, "between") is None
            assert await wait_for_health(api, 503) == {"database_away"}
            mark.touch()  # it ends meanwhile, and its runner keeps the outcome
            await asyncio.to_thread(pair.promote)
            tasks += [running, await accepted(api, "between"), await accepted(api, "after")]
            await all_done_once(api, tasks)
            assert "database_away" not in await wait_for_health(api, 200)
