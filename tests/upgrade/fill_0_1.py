"""Fills a database with tasks in all states. It runs with the code of 0.1.0: see `make_dumps`.

    python fill_0_1.py DATABASE_URL TASKS [--paused]

The real tracker of 0.1.0 does it, for a runner that does as it is told, on a clock that this
script moves. The ids of tasks are in order, and all times are whole seconds, so the dump is small.
"""

# mypy: ignore-errors
# ruff: noqa: ASYNC110, C901
# The names are those of 0.1.0, which today's version has elsewhere. Nothing but a look tells what
# its tracker has done.

import argparse
import asyncio
import json
from collections.abc import Sequence
from typing import Any

from dump_handlers import mail, report
from msgspec.structs import replace
from raytasks.messages import AttemptLog, Claim, Exchange, LogLine, Outcome, Report
from raytasks.models import REMOTE_POOL
from raytasks.operations import BulkAction, BulkFilter, NewBulk
from raytasks.registry import Registry
from raytasks.states import OutcomeKind
from raytasks.submission import check_submission

from raytasks.store.store import Store
from raytasks.testing import FakeClock
from raytasks.tracker.core import Tracker

STEP = 500
"""How many tasks are submitted, claimed and ended together."""

HOUR = 3600.0
ERROR = {"type": "SMTPServerDisconnected", "message": "the connection was closed", "traceback": ""}

# Of 1,000 tasks so many come to this end. The others are completed at their first attempt.
SHARES = {
    "completed_second": 50,
    "completed_by_hand": 10,
    "failed": 80,
    "failed_thrice": 10,
    "cancelled_by_tag": 50,
    "cancelled_one_by_one": 10,
    "cancelled_running": 10,
    "retrying_later": 30,
    "snoozed": 7,
    "retrying_due": 20,  # at the end: what follows is not to claim it again
    "suspect": 3,
    "running": 8,
    "running_to_cancel": 2,
    "pending_later": 50,
    "pending": 200,
}


def task_id(number: int) -> str:
    """Return the id of the `number`-th task: a UUID of version 7, in order."""
    return f"0198c1de-0000-7000-8000-{number:012x}"


class Filler:
    """One tracker of 0.1.0, one runner, and a clock."""

    def __init__(self, url: str) -> None:
        self.clock = FakeClock()
        self.registry = Registry()
        for handler in (mail, report):
            self.registry.add(handler.__raytasks_handler__)
        self.tracker = Tracker(Store(url), clock=self.clock, lease_seconds=1e9)
        self.number = 0
        self.batch = 0
        self.reports = 0
        self.runner_id = "runner-1"
        self.known = False

    async def submit(self, count: int, task_type: str, fate: str, **options: Any) -> list[str]:
        """Submit tasks, and return their ids. One in ten has a key, one in four a tag."""
        tasks = []
        for _ in range(count):
            number = self.number = self.number + 1
            body = {"task_type": task_type, "payload": {"order": number, "note": fate}, **options}
            if number % 4 == 0:
                body["tags"] = [*body.get("tags", ()), f"customer:{number % 7}"]
            task = check_submission(
                body,
                self.registry,
                idempotency_key=f"order-{number}" if number % 40 == 0 else None,
                namespace="team-a" if task_type == "report" else "default",
                now=self.clock(),
            )
            tasks.append(replace(task, task_id=task_id(number)))
        assert not await self.tracker.submit(tasks)
        return [task.task_id for task in tasks]

    async def exchange(self, task_types: Sequence[str] = (), **news: Any) -> Any:
        """Make one exchange, and return the orders."""
        while True:
            exchange = Exchange(
                self.runner_id,
                "raytasks-remote",
                REMOTE_POOL,  # it is given all that it has room for
                "generation",
                dict.fromkeys(task_types, STEP),
                STEP if task_types else 0,
                self.batch,
                "0a" * 28,
                "0b" * 28,
                held=None if self.known else (),
                **news,
            )
            call = asyncio.ensure_future(self.tracker.exchange(exchange))
            if not task_types:  # nothing urgent comes: the next call has this one answered
                return call
            orders = await call
            self.batch = max(self.batch, orders.batch)
            self.known = not orders.resync
            if not orders.resync:
                return orders

    async def claim(self, task_type: str, count: int) -> list[Claim]:
        """Claim tasks, all that are due."""
        claims: list[Claim] = []
        while len(claims) < count:
            claims += (await self.exchange([task_type])).claims
        assert len(claims) == count
        return claims

    async def end(self, claims: Sequence[Claim], kind: OutcomeKind, **changes: Any) -> None:
        """End attempts; on return that is on disk."""
        began = self.clock()
        self.clock.advance(1)
        outcomes = [
            Outcome(
                claim.task_id,
                claim.attempt,
                kind,
                began,
                self.clock(),
                node_id="0a" * 28,
                worker_id="0b" * 28,
                result=json.dumps({"order": json.loads(claim.payload)["order"]})
                if kind is OutcomeKind.SUCCEEDED
                else None,
                error=json.dumps(ERROR) if kind is OutcomeKind.FAILED else None,
                **changes,
            )
            for claim in claims
        ]
        await self.exchange(outcomes=outcomes)
        ids = {claim.task_id for claim in claims}
        await self.until(lambda running: not ids & running)

    async def until(self, found: Any) -> None:
        """Let the tracker work until what runs is as it should be."""
        while not found({held for runner in self.tracker.runners() for held in runner.held}):
            await asyncio.sleep(0.001)

    async def say(self, claims: Sequence[Claim], *, checkpoint: bool) -> None:
        """Report progress and log lines of attempts that run, and a checkpoint."""
        reports, logs = [], []
        for claim in claims:
            self.reports += 1
            data = json.dumps({"page": 17}) if checkpoint else None
            said = ("half of it", data)
            reports.append(Report(claim.task_id, claim.attempt, self.reports, 0.5, *said))
            line = LogLine(1, self.clock(), "INFO", "reading the order")
            logs.append(AttemptLog(claim.task_id, claim.attempt, self.reports, (line,)))
        await self.exchange(reports=reports, logs=logs)
        wanted = claims[-1].task_id
        while (await self.tracker.tasks([wanted]))[wanted].progress_fraction is None:
            await asyncio.sleep(0.001)

    async def fill(self, fate: str, count: int, index: int) -> None:
        """Make so many tasks, and bring them to this end."""
        task_type = "report" if index % 3 == 2 or fate == "suspect" else "mail"
        options: dict[str, Any] = {"priority": index % 3 - 1}
        if fate == "pending_later":
            options["delay_seconds"] = 24 * HOUR + index
        if fate in ("cancelled_by_tag", "completed_by_hand"):
            options["tags"] = [fate.replace("_", "-")]
        ids = await self.submit(count, task_type, fate, **options)
        if fate in ("pending", "pending_later", "cancelled_by_tag"):
            return
        if fate == "cancelled_one_by_one":
            for name in ids:
                await self.tracker.cancel(name)
            return
        claims = await self.claim(task_type, count)
        if index % 5 == 0 or fate.startswith(("retrying", "running")):
            await self.say(claims, checkpoint=fate.startswith(("retrying", "running")))
        await self.go_on(fate, claims, task_type)

    async def go_on(self, fate: str, claims: list[Claim], task_type: str) -> None:
        """Bring claimed tasks to their end."""
        match fate:
            case "completed":
                await self.end(claims, OutcomeKind.SUCCEEDED)
            case "completed_second" | "failed_thrice":
                last = 2 if fate == "completed_second" else 3
                for _ in range(1, last):
                    await self.end(claims, OutcomeKind.FAILED, retryable=True, delay_seconds=60.0)
                    self.clock.advance(60)
                    claims = await self.claim(task_type, len(claims))
                if fate == "completed_second":
                    await self.end(claims, OutcomeKind.SUCCEEDED)
                else:
                    await self.end(claims, OutcomeKind.FAILED, retryable=True)
            case "failed" | "completed_by_hand":
                await self.end(claims, OutcomeKind.FAILED)
            case "cancelled_running":
                for claim in claims:
                    await self.tracker.cancel(claim.task_id)
                await self.end(claims, OutcomeKind.CANCELLED)
            case "running_to_cancel":
                for claim in claims:
                    await self.tracker.cancel(claim.task_id)
            case "retrying_due" | "retrying_later":
                seconds = 100.0 if fate == "retrying_due" else 24 * HOUR
                await self.end(claims, OutcomeKind.FAILED, retryable=True, delay_seconds=seconds)
            case "snoozed":
                await self.end(claims, OutcomeKind.SNOOZED, delay_seconds=24 * HOUR)
            case "suspect":  # their process died, and nobody knows by which of them
                self.tracker.lose(self.runner_id, "its process died")
                await self.until(lambda running: not running)
                self.runner_id, self.batch = f"runner-{self.number}", 0
                self.known = False

    async def bulk(self, number: int, action: BulkAction, tag: str) -> None:
        """Do a bulk operation to its end, in each of the namespaces."""
        for place, namespace in enumerate(("default", "team-a")):
            bulk_id = task_id(0xFFFF_0000 + 2 * number + place)
            asked = BulkFilter(action, tag=tag, namespace=namespace)
            new = NewBulk(bulk_id, asked, self.clock(), idempotency_key=f"{tag}-{action}")
            await self.tracker.bulk_start(new)
            while (await self.tracker.bulk_get(bulk_id, namespace)).finished_at is None:
                await asyncio.sleep(0.001)


async def fill(url: str, tasks: int, *, paused: bool) -> None:
    """Make `tasks` tasks in all states."""
    filler = Filler(url)
    await filler.tracker.start()
    running = asyncio.ensure_future(filler.tracker.run())
    while not filler.tracker.ticker.ledger.stats.restored:
        await asyncio.sleep(0.001)
    fates = {"completed": 1000 - sum(SHARES.values()), **SHARES}
    for fate, share in fates.items():
        left, index = tasks * share // 1000, 0
        while left:
            await filler.fill(fate, min(STEP, left), index)
            left -= min(STEP, left)
            index += 1
        if fate == "completed_by_hand":
            await filler.bulk(0, BulkAction.RETRY, "completed-by-hand")
            count = tasks * share // 1000
            for task_type in ("mail", "report"):
                while filler.tracker.ticker.ledger.waiting(task_type):
                    claims = (await filler.exchange([task_type])).claims
                    count -= len(claims)
                    await filler.end(claims, OutcomeKind.SUCCEEDED)
            assert not count
        elif fate == "cancelled_by_tag":
            await filler.bulk(1, BulkAction.CANCEL, "cancelled-by-tag")
    assert filler.number == tasks
    if paused:
        await filler.tracker.pause()
    filler.clock.advance(200)  # now the statistics are written
    while filler.tracker.ticker.ledger.stats._unwritten:
        filler.tracker.ticker.wake.set()
        await asyncio.sleep(0.001)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await filler.tracker.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("tasks", type=int)
    parser.add_argument("--paused", action="store_true")
    arguments = parser.parse_args()
    asyncio.run(fill(arguments.url, arguments.tasks, paused=arguments.paused))
