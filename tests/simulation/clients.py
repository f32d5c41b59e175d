"""Clients: they submit, cancel, retry, wait, pause and make bulk operations, through replicas.

Whoever gets no answer tries again, as a client of the API does, with the same idempotency key.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from raytasks.handling.submission import batch_key
from raytasks.model.bulk_operations import NewBulk
from raytasks.model.lane_names import lane_of
from raytasks.model.tasks import (
    BacklogFull,
    Duplicate,
    NewTask,
    RaytasksError,
    RevisionConflict,
    StateConflict,
    StoreUnavailable,
    TaskNotFound,
)
from raytasks.protocol.commands import CancelTask, RetryTask
from raytasks.protocol.queries import TasksById
from tests.simulation.account import FINAL
from tests.simulation.bodies import Plan
from tests.simulation.callbacks import Callbacks
from tests.simulation.changers import changer, deleter
from tests.simulation.kinds import Fault
from tests.simulation.loop import Process
from tests.simulation.network import CallFailed

if TYPE_CHECKING:
    from tests.simulation.world import World

AWAY = (StoreUnavailable, CallFailed, BacklogFull)
"""Errors that mean: try again."""


class Clients:
    """All clients, in one process that is never harmed. `draw` is their own source of chance."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.process = Process(world.loop, "clients")
        self.stored: list[str] = []
        """The ids of the tasks that were accepted, in their order."""
        self.waits: list[asyncio.Task[Any]] = []
        self.jobs: list[asyncio.Task[Any]] = []
        self._draw = world.draw
        self._changes = Random(world.seed + 7_000_000_001)
        self._numbers = 0
        self.plans: dict[str, Plan] = {}
        """The plan of each task, by its id."""
        self.bulks: list[NewBulk] = []
        self.callbacks = Callbacks(
            world.seed, world.files.reader, world.account, self.plans, world.fail
        )
        self.away = AWAY

    @property
    def draw(self) -> Random:
        """The source of chance of those who change and delete tasks."""
        return self._changes

    def begin(self, work: Any) -> "asyncio.Task[Any]":
        """Have a client do something."""
        job = self.process.start(work)
        self.jobs.append(job)
        return job

    def new_id(self) -> str:
        """Return the next id, of a task or a bulk operation: they are in order."""
        self._numbers += 1
        return f"0198c1de-0000-7000-8000-{self._numbers:012x}"

    def new_task(self, plan: Plan, **changes: Any) -> NewTask:
        """Return a submission as a replica makes it."""
        task_id = self.new_id()
        values: dict[str, Any] = {
            "task_id": task_id,
            "task_type": "short",
            "payload": f'{{"n":{plan.number}}}',
            "priority": 0,
            "max_attempts": 2,
            "timeout_seconds": None,
        }
        if not self.world.faults_stop.is_set():  # what comes later is looked at when it has ended
            values["callback_url"] = self.callbacks.url_for(plan.number)
        values["namespace"] = self.world.spaces.of(plan.number)
        values |= changes
        space = values["namespace"]
        if self.world.flow.limits:
            values |= self.world.flow.placed(values["task_type"], plan.number, space)
        else:
            values["lane"] = lane_of(space, None)
        task = NewTask(**values)
        self.plans[task_id] = plan
        self.world.account.submitted[task_id] = task
        return task

    async def ask(self, asked: Any, *arguments: Any) -> Any:
        """Have a replica call the tracker, once. Raises what comes back."""
        replica = self.world.replica()
        return await self.world.network.call(
            replica.process, lambda: replica.act(asked, *arguments), once=True
        )

    async def submit(self, tasks: Sequence[NewTask]) -> dict[str, Duplicate]:
        """Submit tasks through a replica, once."""
        replica = self.world.replica()
        found: dict[str, Duplicate] = await self.world.network.call(
            replica.process, lambda: replica.submit(tasks), once=True
        )
        return found

    async def insist(self, asked: Any, *arguments: Any) -> Any:
        """Ask until there is an answer."""
        while True:
            try:
                return await self.ask(asked, *arguments)
            except AWAY:
                await asyncio.sleep(self._draw.uniform(0.05, 0.5))

    # What clients do

    async def submitter(self, plans: Sequence[Plan]) -> None:
        """Submit tasks one after the other."""
        for plan in plans:
            await asyncio.sleep(self._draw.uniform(0.0, 1.2))
            if self._draw.random() < 0.2:
                await self._submit_batch([plan, Plan(plan.number + 1000)])
            else:
                await self._submit_one(plan)

    async def _submit_one(self, plan: Plan) -> None:
        draw = self._draw
        changes: dict[str, Any] = {
            "task_type": draw.choice(("short", "short", "other", "far")),
            "priority": draw.choice((0, 0, 5, -5)),
            "max_attempts": draw.choice((1, 2, 3)),
        }
        changes["delay_seconds"] = draw.choice((0.0, 0.0, 0.0, 1.0, 4.0)) * draw.random()
        if plan.poison:
            changes["task_type"] = "short"  # a remote task that dies takes no runner with it
        keyed = draw.random() < 0.7
        if keyed:
            changes |= {"idempotency_key": f"key {plan.number}", "request_digest": "same"}
        if self.world.swarm.strikes(Fault.COMMAND_REFUSED, draw):
            self.begin(self._submit_refused(plan))
        while True:
            task = self.new_task(plan, **changes)
            asked = asyncio.ensure_future(self.submit([task]))
            if self.world.swarm.strikes(Fault.CLIENT_GONE, draw):
                await asyncio.sleep(draw.uniform(0.0, 0.01))
                asked.cancel()
                return
            try:
                found = await asked
            except AWAY:
                if not keyed:
                    return  # it may be stored or not
                await asyncio.sleep(draw.uniform(0.05, 0.5))
                continue
            self._note_accepted(task, found)
            owner = found[task.task_id].task_id if found.get(task.task_id) else task.task_id
            if keyed and draw.random() < 0.3:
                self.begin(self._repeat(owner, changes))
            await self._follow(owner)
            return

    def _note_accepted(self, task: NewTask, found: dict[str, Duplicate]) -> None:
        duplicate = found.get(task.task_id)
        rows = self.world.checker.rows
        if duplicate is None:
            self.world.answers.accepted(task.task_id)
            self.stored.append(task.task_id)
            return
        account = self.world.account
        some_are_gone = self.world.retention_seconds is not None or account.deletes
        if not duplicate.task_id and (some_are_gone or account.sweeps):
            return  # of a batch of which a part was pruned or deleted
        owner = rows.get(duplicate.task_id)
        if not duplicate.same or (
            owner is not None and owner.idempotency_key != task.idempotency_key
        ):
            self.world.fail(f"{task} is told to be a duplicate of {owner}: {duplicate}")
        deleted = owner is None and self.world.account.may_be_deleted(duplicate.task_id)
        if owner is None and self.world.retention_seconds is None and not deleted:
            self.world.fail(f"{task} is told to be a duplicate of {duplicate}, which is not there")
        self.stored.append(duplicate.task_id)

    async def _repeat(self, owner: str, changes: dict[str, Any]) -> None:
        """Say again what made the task `owner`, and ask for more with its key."""
        await asyncio.sleep(self._draw.uniform(0.0, 2.0))
        for digest in ("same", "other"):
            again = self.new_task(self.plans[owner], **changes | {"request_digest": digest})
            try:
                found = (await self.submit([again])).get(again.task_id)
            except AWAY:
                continue
            if found is None:
                deleted = self.world.account.may_be_deleted(owner)
                if self.world.retention_seconds is None and not deleted:
                    self.world.fail(f"{again} was accepted, and its key is taken")
                return
            if found.same != (digest == "same"):
                self.world.fail(f"{again} is told to be {found}")

    async def _submit_batch(self, plans: Sequence[Plan]) -> None:
        key, space = f"batch {plans[0].number}", self.world.spaces.of(plans[0].number)
        while True:
            tasks = [
                self.new_task(
                    plan,
                    idempotency_key=batch_key(key, index),
                    request_digest="batch",
                    namespace=space,
                )
                for index, plan in enumerate(plans)
            ]
            try:
                found = await self.submit(tasks)
            except AWAY:
                await asyncio.sleep(self._draw.uniform(0.05, 0.5))
                continue
            if len({task.task_id in found for task in tasks}) > 1:
                self.world.fail(f"a part of a batch was accepted: {tasks} {found}")
            for task in tasks:
                self._note_accepted(task, found)
            return

    async def _submit_refused(self, plan: Plan) -> None:
        """Submit what no database takes."""
        task = self.new_task(plan, priority=2**63)
        try:
            await self.ask("submit", [task])  # not with those of others in one submission
        except (RaytasksError, CallFailed):
            return
        self.world.fail("a task was accepted that cannot be stored")

    async def _follow(self, task_id: str) -> None:
        """Do what a client does with a task of its own."""
        draw, plan = self._draw, self.plans.get(task_id)
        if plan is None:
            return
        if plan.endless or draw.random() < 0.12:
            self.begin(self.canceller(task_id))
        if draw.random() < 0.5:
            self.waits.append(self.process.start(self.waiter(task_id)))
        if draw.random() < 0.3:
            self.begin(self.retrier(task_id))
        if self._changes.random() < 0.4:
            self.begin(changer(self, task_id, AWAY))
        if self._changes.random() < 0.1:
            self.begin(deleter(self, task_id, AWAY))
        self.world.spaces.follow(task_id)

    async def canceller(self, task_id: str, seconds: float = 2.0) -> None:
        """Cancel a task, sooner or later; and know what that means."""
        await asyncio.sleep(self._draw.uniform(0.0, seconds))
        world = self.world
        while True:
            world.account.cancels.add(task_id)
            retried = world.checker.retried[task_id]
            try:
                after = await self.ask(CancelTask(task_id, world.account.space_of(task_id)))
            except AWAY:
                await asyncio.sleep(self._draw.uniform(0.05, 0.5))
                continue
            except TaskNotFound:
                if task_id in world.checker.rows:
                    world.fail(f"{task_id} is said not to exist")
                return
            except StateConflict:
                return
            row = world.checker.rows.get(task_id)
            if (
                row is not None
                and world.checker.retried[task_id] == retried
                and not (row.cancel_requested or row.state in FINAL)
            ):
                world.fail(f"{task_id} was cancelled, as was told ({after}), and is {row}")
            return

    async def retrier(self, task_id: str) -> None:
        """Retry a task that has failed, or was cancelled, as a person does."""
        plan = self.plans[task_id]
        for _ in range(8):
            await asyncio.sleep(self._draw.uniform(0.5, 2.0))
            row = self.world.checker.rows.get(task_id)
            if row is None or row.state not in ("FAILED", "CANCELLED") or plan.endless:
                continue
            self.world.account.retries[task_id] += 1
            space = self.world.account.space_of(task_id)
            command = RetryTask(task_id, space, revision=row.revision)
            for tries in range(20):
                try:
                    await self.ask(command)
                except AWAY:  # it may have arrived
                    if not tries and plan.number % 2:
                        self.begin(self.canceller(task_id, 0.5))  # it could be retried again then
                    await asyncio.sleep(self._draw.uniform(0.05, 0.5))
                    continue
                except (StateConflict, RevisionConflict):
                    self.world.answers.refused(task_id, row.revision)
                except TaskNotFound:
                    pass
                return

    async def waiter(self, task_id: str) -> None:
        """Wait for a task's end, as long as it takes."""
        while True:
            replica = self.world.replica()
            try:
                found = await self.world.network.call(
                    replica.process, partial(replica.wait, task_id, None), once=True
                )
            except AWAY:
                await asyncio.sleep(self._draw.uniform(0.05, 0.5))
                continue
            if found is None:
                if task_id in self.world.checker.rows:
                    self.world.fail(f"a wait for {task_id} found nothing")
            elif not found.state.final:
                self.world.fail(f"a wait for {task_id} was answered with {found.state}")
            return

    async def reader(self) -> None:
        """Read what is there, again and again: what was accepted must be found."""
        while self.world.swarm.active:
            await asyncio.sleep(self._draw.uniform(0.1, 0.6))
            ids = self.stored[-3:]
            try:
                found = await self.ask(TasksById(ids))
            except AWAY:
                continue
            gone = [name for name in ids if name not in found and name in self.world.checker.rows]
            if gone:
                self.world.fail(f"these are stored, and were not found: {gone}")

    async def pauser(self) -> None:
        """Pause, and go on after a while. A pause that was not answered may hold or not."""
        await asyncio.sleep(self._draw.uniform(0.5, 4.0))
        try:
            await self.ask("pause")
            self.world.account.paused = True
            self.world.trace("paused")
            await asyncio.sleep(self._draw.uniform(0.5, 6.0))
        except AWAY:
            pass
        self.world.account.paused = False
        await self.insist("resume")
