"""The chaos run: load and faults on a real service, then the judgement over what is left.

`python -m tests.chaos.run --seconds 300 --seed 7 --database postgresql`
"""

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from msgspec import structs

from tests.chaos.checker import Violation, check
from tests.chaos.client import Clients
from tests.chaos.driver import Driver
from tests.chaos.effects import EffectsReader
from tests.chaos.evidence import Evidence
from tests.chaos.faults import Faults
from tests.chaos.kinds import RAY_RETRIED
from tests.chaos.plan import (
    CRASH_SECONDS,
    FaultKind,
    planned_faults,
    planned_restarts,
    planned_tasks,
)
from tests.chaos.reader import read_history, unfinished
from tests.chaos.report import report
from tests.chaos.service import MAX_CRASHES, ChaosService
from tests.postgres_server import PostgresServer

DEFAULT_RATE = 40.0
DRAIN_SECONDS = 90.0
"""How long the service has at the end to finish every task."""


@dataclass(frozen=True)
class Options:
    """The options of a run: the seed fixes the plan of tasks and faults."""

    seed: int
    seconds: float
    rate: float = DEFAULT_RATE
    freeze_tracker: bool = True
    crash_seconds: float = CRASH_SECONDS


@dataclass
class Verdict:
    """How a run went."""

    violations: list[Violation]
    lines: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The report."""
        return "\n".join(self.lines)


def run_chaos(
    options: Options, folder: Path, database_url: str, postgres: PostgresServer | None = None
) -> Verdict:
    """Do a run with its files in `folder`; `postgres` is the server if the database is on one."""
    service = ChaosService(folder, database_url)
    evidence, answers = asyncio.run(_run(options, service, postgres))
    violations = check(evidence)
    (folder / "evidence.json").write_text(
        json.dumps(
            {
                "submissions": [asdict(item) for item in evidence.submissions],
                "tasks": [structs.asdict(task) for task in evidence.history.tasks],
                "attempts": [structs.asdict(attempt) for attempt in evidence.history.attempts],
                "faults": [
                    asdict(fault) | {"pids": sorted(fault.pids)} for fault in evidence.faults
                ],
            }
        )
    )
    lines = [
        f"seed {options.seed}, {options.seconds:g} s, {database_url.partition(':')[0]}",
        *report(evidence, violations, answers),
    ]
    (folder / "report.txt").write_text("\n".join(lines) + "\n")
    return Verdict(violations, lines)


async def _run(
    options: Options, service: ChaosService, postgres: PostgresServer | None
) -> tuple[Evidence, dict[str, int]]:
    await asyncio.to_thread(service.start)
    driver = Driver()
    keyed = await asyncio.to_thread(service.takes_keys)
    clients = Clients(service.url, driver, keyed=keyed)
    faults = Faults(service, clients, driver, postgres)
    try:
        await faults.start_driver()
        await _load_and_faults(options, clients, faults, postgresql=postgres is not None)
        await clients.finish()
        await _drain(service, clients)
    finally:
        await driver.stop()
        await clients.close()
        exit_code = await asyncio.to_thread(service.stop)
    evidence = Evidence(
        submissions=list(clients.submissions.values()),
        history=read_history(service.database_url),
        effects=EffectsReader(service.effects_path).read(),
        faults=faults.done,
        max_crashes=MAX_CRASHES,
        ray_retried=RAY_RETRIED,
        exit_code=exit_code,
    )
    return evidence, clients.answers


async def _load_and_faults(
    options: Options, clients: Clients, faults: Faults, *, postgresql: bool
) -> None:
    """Load the service until the time is over and each kind of fault was there once."""
    plan = planned_faults(
        options.seed, postgresql=postgresql, freeze_tracker=options.freeze_tracker
    )
    restarts = planned_restarts(options.seconds)
    began = time.monotonic()
    stop = asyncio.Event()
    tasks = planned_tasks(options.seed, options.rate, options.crash_seconds)
    load = asyncio.create_task(clients.run(tasks, stop))
    try:
        for planned in plan:
            elapsed = time.monotonic() - began
            if elapsed >= options.seconds and not planned.must:
                break
            if restarts and elapsed >= restarts[0]:
                restarts.pop(0)
                await faults.strike(FaultKind.KILL_SERVICE)
            await asyncio.sleep(planned.pause)
            await faults.strike(planned.kind)
    finally:
        stop.set()
        await load


async def _drain(service: ChaosService, clients: Clients) -> None:
    """Wait until every task is final, or the time for that is over; the checker tells."""
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline:
        left = await asyncio.to_thread(unfinished, service.database_url)
        if not left:
            return
        await clients.final(left[0], deadline)


@contextmanager
def _database(kind: str, folder: Path) -> Iterator[tuple[str, PostgresServer | None]]:
    """Make a database: a file in the folder, or a server for the time of the run."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/tasks.db", None
        return
    data = Path(tempfile.mkdtemp(prefix="raytasks-postgres-"))
    server = PostgresServer(data, data)
    try:
        yield server.new_database(), server
    finally:
        server.remove()
        shutil.rmtree(data, ignore_errors=True)


def main() -> int:
    """Do a run as the command line says; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(
        description="Kill a service under load, and check its history."
    )
    parser.add_argument("--seconds", type=float, default=120.0, help="of load and faults")
    parser.add_argument("--seed", type=int, default=None, help="default: a random one")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--rate", type=float, default=DEFAULT_RATE, help="tasks a second")
    parser.add_argument("--freeze-tracker", action=argparse.BooleanOptionalAction, default=True)
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    options = Options(seed, given.seconds, given.rate, given.freeze_tracker)
    folder = Path(tempfile.mkdtemp(prefix="raytasks-chaos-"))
    print(f"seed {seed}", flush=True)
    with _database(given.database, folder) as (url, postgres):
        verdict = run_chaos(options, folder, url, postgres)
    print(verdict.text)
    if verdict.violations:
        print(f"everything is kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
