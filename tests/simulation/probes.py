"""Probes: when all is well again, the engine must be quick, and its fences must hold.

A wake-up that is lost costs seconds until the next heartbeat; without faults nobody waits so long.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from raytasks.model.bulk_operations import BulkAction, NewBulk
from raytasks.model.states import TRANSITIONS, Event, OutcomeKind
from raytasks.model.tasks import AttemptRecord
from raytasks.protocol.commands import RetryTask, StartBulk
from raytasks.store.settlement import Settlement
from raytasks.store.transaction import FenceBroken, Superseded
from raytasks.tracker.bulk_turns import run_step
from raytasks.tracker.tick import TickInput, run_tick
from tests.making import bulk_filter
from tests.simulation.account import FINAL, Row
from tests.simulation.bodies import Deed, Plan

if TYPE_CHECKING:
    from tests.simulation.runners import RunnerLife
    from tests.simulation.world import World

PROMPT_SECONDS = 1.5
"""How long anything may take while all is well, beside what it is told to wait for."""

RESTART_SECONDS = 20.0
"""How long a tracker may take to come back."""


class Probes:
    """Does what clients do, with a stop watch."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self._clients = world.clients
        self._number = 5000

    async def run(self) -> None:
        """Do some of the probes, at the same time or one after the other."""
        draw = self.world.draw
        probes = [
            self._plain,
            self._delayed,
            self._failing,
            self._cancelled,
            self._retried,
            self._paused,
            self._in_bulk,
            self._left,
            self._died,
            self._followed,
        ]
        chosen = draw.sample(probes, k=3)
        if self._paused in chosen or self._in_bulk in chosen:  # they are in the way of others
            for probe in chosen:
                await probe()
        else:
            await asyncio.gather(*(probe() for probe in chosen))

    async def until(self, what: str, true: Callable[[], object], seconds: float = 0.0) -> None:
        """Wait until something is true: promptly, beside so many `seconds`."""
        end = self.world.loop.time() + seconds + PROMPT_SECONDS * self.world.patience
        while not true():
            if self.world.loop.time() > end:
                self.world.fail(f"all is well, and yet it took too long until {what}")
            await asyncio.sleep(0.02)

    def _row(self, task_id: str) -> Row | None:
        return self.world.checker.rows.get(task_id)

    def _is(self, task_id: str, state: str) -> Callable[[], bool]:
        return lambda: (row := self._row(task_id)) is not None and row.state == state

    def _is_or_gone(self, task_id: str, state: str) -> Callable[[], bool]:
        """As `_is`, where retention may have been faster."""
        return lambda: (row := self._row(task_id)) is None or row.state == state

    async def until_done(self, task_id: str, seconds: float = 0.0) -> None:
        """Wait until a task has completed: promptly, beside so many `seconds`."""
        await self.until(f"{task_id} had ended", self._is_or_gone(task_id, "COMPLETED"), seconds)

    async def submit(self, plan: Plan | None = None, **changes: object) -> str:
        """Submit a task that is quick, and return its id."""
        self._number += 1
        plan = plan or Plan(self._number, calm=True)
        task = self._clients.new_task(plan, **changes)
        asked = self._clients.begin(self._clients.submit([task]))
        await self.until("a submission was answered", asked.done)
        asked.result()
        return task.task_id

    async def _plain(self) -> None:
        """Submit some tasks, and wait for them as a client does."""
        ids = [await self.submit(task_type=name) for name in ("short", "far", "other", "short")]
        waits = [self._clients.begin(self._clients.waiter(task_id)) for task_id in ids]
        await self.until("plain tasks had ended", lambda: all(wait.done() for wait in waits))

    async def _delayed(self) -> None:
        task_id = await self.submit(delay_seconds=1.0)
        await self.until("a delayed task had ended", self._is_or_gone(task_id, "COMPLETED"), 1.0)

    async def _failing(self) -> None:
        for deed in (Deed.FAIL, Deed.SNOOZE):
            self._number += 1
            task_id = await self.submit(Plan(self._number, calm=True, first=deed))
            await self.until(
                f"a task to {deed} had ended", self._is_or_gone(task_id, "COMPLETED"), 0.5
            )

    async def _followed(self) -> None:
        """Follow a task's news and all changes, as event streams do."""
        self._number += 1
        replica = self.world.replica()
        with replica.watch.following() as changes:
            await asyncio.sleep(0.3)  # it begins with a gap
            task_id = await self.submit(Plan(self._number, talks=True))
            with replica.watch.listening(task_id) as news:
                seen = 0
                while not self._is_or_gone(task_id, "COMPLETED")():
                    news.clear()
                    await self.until("there were news", news.is_set, 1.0)
                    seen += 1
            states: list[str] = []
            while "COMPLETED" not in states:
                asked = asyncio.ensure_future(changes.get())
                await self.until("there were changes", asked.done)
                for piece in asked.result():
                    if piece.gap:
                        states += ["COMPLETED"]  # another probe's runner had to begin again
                    states += [item.state for item in piece.changes if item.task_id == task_id]
        if seen < 2:
            self.world.fail(f"of {task_id} only so much was told: {seen}, {states}")

    async def _cancelled(self) -> None:
        self._number += 1
        task_id = await self.submit(Plan(self._number, endless=True))
        await self.until("an attempt had begun", self._is(task_id, "RUNNING"))
        await asyncio.sleep(self.world.draw.random())
        await self._clients.canceller(task_id, 0.0)
        # Where another probe has killed its runner, it may have failed instead.
        await self.until(
            "a cancelled attempt had ended",
            lambda: (row := self._row(task_id)) is not None and row.state in FINAL,
        )

    async def _retried(self) -> None:
        self._number += 1
        plan = Plan(self._number, calm=True, first=Deed.FAIL_FOR_GOOD)
        task_id = await self.submit(plan)
        ended = self._is_or_gone(task_id, "FAILED"), self._is(task_id, "COMPLETED")
        await self.until("a task had failed", lambda: any(one() for one in ended))
        if ended[1]():  # its first attempt was lost with another probe's runner
            return
        self.world.account.retries[task_id] += 1
        await self._clients.insist(RetryTask(task_id, self.world.account.space_of(task_id)))
        await self.until("a retried task had ended", self._is_or_gone(task_id, "COMPLETED"))

    async def _paused(self) -> None:
        await self._clients.insist("pause")
        self.world.account.paused = True
        ids = [await self.submit(), await self.submit(task_type="far")]
        await asyncio.sleep(0.5)
        self.world.account.paused = False
        await self._clients.insist("resume")
        for task_id in ids:
            await self.until("a task ran after a pause", self._is_or_gone(task_id, "COMPLETED"))

    async def _in_bulk(self) -> None:
        """Cancel waiting and running tasks in bulk, then retry them so."""
        await self._clients.insist("pause")
        ids = [await self.submit(tags='["probe"]', namespace="default") for _ in range(3)]
        await self._bulk(BulkAction.CANCEL)
        restarted = self.world.draw.random() < 0.5
        if restarted and (life := self.world.present_tracker) is not None:
            life.process.kill()  # whoever comes next goes on
        for task_id in ids:
            seconds = RESTART_SECONDS if restarted else 0.0
            cancelled = self._is_or_gone(task_id, "CANCELLED")
            await self.until("a bulk operation had cancelled", cancelled, seconds)
        await self._clients.insist("resume")
        await self._bulk(BulkAction.RETRY)
        for task_id in ids:
            retried = self._is_or_gone(task_id, "COMPLETED")
            await self.until("a bulk operation had retried", retried)

    async def _bulk(self, action: BulkAction) -> None:
        account, clients = self.world.account, self._clients
        if action is BulkAction.CANCEL:
            account.bulk_cancels["default"] += 1
        else:
            account.bulk_retries["default"] += 1
        wanted = bulk_filter(action, tag="probe")
        bulk = NewBulk(clients.new_id(), wanted, self.world.wall(clients.process))
        made, new = await clients.insist(StartBulk(bulk))
        if made.bulk_id != bulk.bulk_id:
            self.world.fail(f"a new bulk operation is another one: {made} {new}")
        clients.bulks.append(bulk)

    async def _left(self) -> None:
        """Have a runner leave while it has much to do: what waits in it must run elsewhere."""
        await self._with_full_runner(lambda life: life.leave())

    async def _died(self) -> None:
        """Have a runner die while it has much to do, and have the tracker be told of it."""
        await self._with_full_runner(self._crash)

    def _crash(self, life: "RunnerLife") -> None:
        self.world.crash(life, told=True)
        self._clients.begin(self._given_up(life))

    async def _given_up(self, life: "RunnerLife") -> None:
        """See that what a runner held is given up as soon as the tracker was told of its death."""
        present = self.world.present_tracker
        await asyncio.sleep(0.31)
        if not self.world.watch.was_told(life.runner_id):
            return  # there was no tracker
        await asyncio.sleep(0.1 * self.world.patience)
        held = [row for row in self.world.checker.rows.values() if row.runner_id == life.runner_id]
        if held and present is self.world.present_tracker:
            self.world.fail(f"{life.runner_id} is dead, as was told, and holds {held}")

    async def _with_full_runner(self, harm: Callable[..., object]) -> None:
        ids = [await self.submit() for _ in range(4)]

        def living() -> "list[RunnerLife]":
            return [life for life in self.world.runners if life.process.runs and not life.left]

        await self.until("there was a runner", living, 1.0)
        harm(self.world.draw.choice(living()))
        for task_id in ids:
            await self.until(
                "another runner had done it", self._is_or_gone(task_id, "COMPLETED"), 1.5
            )

    # Fences

    def fences(self) -> None:
        """Try on the real store what it must refuse, whatever a tracker believes."""
        checker, draw = self.world.checker, self.world.draw
        rows = list(checker.rows.values())
        if not rows:
            return
        row = draw.choice(rows)
        for attempt in (row.attempt - 1, row.attempt, row.attempt + 1):
            if row.state == "RUNNING" and attempt == row.attempt:
                continue
            self._refused(f"settled attempt {attempt} of {row}", self._settlement(row, attempt))
        self._superseded()

    def memory(self) -> None:
        """See that memory takes no attempt for the one that a runner holds."""
        present = self.world.present_tracker
        if present is None or present.tracker is None:
            return
        for runner in present.tracker.fleet:
            for held in runner.held.values():
                for other in (held.attempt - 1, held.attempt + 1):
                    if runner.find(held.task_id, other) is not None:
                        self.world.fail(f"attempt {other} counts as {held}, which is held")

    def _settlement(self, row: Row, attempt: int) -> Settlement:
        return Settlement(
            event=Event.SUCCEED,
            attempt=AttemptRecord(
                row.task_id,
                attempt,
                OutcomeKind.SUCCEEDED,
                "nobody",
                0.0,
                0.0,
                state=TRANSITIONS[Event.SUCCEED].target,
                revision=row.revision + 1,
            ),
            task_type=row.task_type,
            priority=0,
            run_at=0.0,
            namespace=row.namespace,
        )

    def _refused(self, what: str, settlement: Settlement) -> None:
        store = self.world.store
        try:
            with store.transaction(now=1.0) as transaction:
                transaction.renew(self.world.checker.epoch)
                transaction.settle([settlement])
                transaction.finish()
                raise _Back
        except FenceBroken:
            return
        except _Back:
            self.world.fail(f"the store has {what}")

    def _superseded(self) -> None:
        store, epoch = self.world.store, self.world.checker.epoch

        def renew(wrong: int) -> None:
            with store.transaction(now=1.0) as transaction:
                transaction.renew(wrong)
                raise _Back

        tries: list[Callable[[int], object]] = [
            renew,
            lambda wrong: store.steer(wrong, [], [], 1.0),
            lambda wrong: run_tick(store, TickInput(1.0, wrong, 1)),
            lambda wrong: run_step(store, wrong, 1.0, ""),
        ]
        for wrong in (epoch - 1, epoch + 1):
            for attempt in tries:
                try:
                    attempt(wrong)
                except Superseded:
                    continue
                except _Back:
                    pass
                self.world.fail(f"the store lets epoch {wrong} write in epoch {epoch}")


class _Back(Exception):
    """Takes back what was only tried."""
