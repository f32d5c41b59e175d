"""The end of a schedule: the faults stop, everything must come to its end, and is looked at."""

import asyncio
from typing import TYPE_CHECKING, Any

from raytasks.model.task_events import EventQuery, StateEntry
from raytasks.protocol.queries import Health, TaskEvents
from tests.simulation.account import FINAL
from tests.simulation.bulks import look_at_bulks
from tests.simulation.places import look_at_places
from tests.simulation.trackers import LEASE_SECONDS

if TYPE_CHECKING:
    from tests.simulation.replicas import ReplicaLife
    from tests.simulation.runners import RunnerLife
    from tests.simulation.trackers import TrackerLife
    from tests.simulation.world import World

CALM_SECONDS = 120.0
"""How long all tasks may take to end when the faults have stopped, beside what they wait for."""


class Ending:
    """Ends a schedule, and looks at what is left."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self._asked: dict[str, int] = {}

    async def calm(self) -> None:
        """Stop all faults, and wait until every task has ended."""
        self.world.trace("faults stop")
        self.world.swarm.active = False
        self.world.faults_stop.set()
        self.world.trouble.end()
        self.world.threads.go_on()
        lives: list[TrackerLife | RunnerLife | ReplicaLife]
        lives = [*self.world.trackers, *self.world.runners, *self.world.replicas]
        for process in (life.process for life in lives):
            if not process.dead:
                process.cut_off = False
                process.thaw()
        await asyncio.sleep(7.0)  # the last doubled calls have come in
        self.world.account.paused = False
        self.world.pauses.everything_goes_on()
        await self.world.clients.begin(self.world.clients.insist("resume"))
        await self.world.pauses.end()
        await self.world.clients.begin(self.world.timetable.end(self.world.clients))
        await self._until_all_has_ended()
        await self.world.pauses.end(0.0)  # a person may have paused something again meanwhile
        for job in self._clients:
            if not job.cancelled() and (error := job.exception()) is not None:
                self.world.fail(f"a client met {error!r}")

    async def _until_all_has_ended(self) -> None:
        world = self.world
        began, now = world.loop.time(), world.wall_of_tracker()
        waits = max([0.0, *(row.run_at - now for row in world.checker.rows.values())])
        end = began + CALM_SECONDS + min(waits, 200.0)
        while True:
            self._cancel_endless()
            open_tasks = [row for row in world.checker.rows.values() if row.state not in FINAL]
            jobs = [job for job in self._clients if not job.done()]
            if not open_tasks and not jobs and self._one_tracker_is_left():
                return
            if world.loop.time() > end:
                trackers = [(life.process.name, life.epoch) for life in world.trackers]
                world.fail(
                    f"the faults have stopped for {world.loop.time() - began:.0f} s, and these "
                    f"have not ended: {open_tasks}, nor {len(jobs)} clients; trackers: {trackers}"
                )
            await asyncio.sleep(0.25)

    @property
    def _clients(self) -> list[asyncio.Task[Any]]:
        return self.world.clients.jobs + self.world.clients.waits

    def _one_tracker_is_left(self) -> bool:
        """Return whether all trackers have ended that were superseded or stood by."""
        alive = [life for life in self.world.trackers if not life.process.dead]
        return len(alive) == 1 and alive[0].epoch == self.world.checker.epoch

    def _cancel_endless(self) -> None:
        """Have all tasks cancelled that never end by themselves; some were retried since."""
        for task_id, row in self.world.checker.rows.items():
            plan = self.world.clients.plans[task_id]
            is_open = row.state not in FINAL and not row.cancel_requested
            if plan.endless and is_open and self._asked.get(task_id) != row.revision:
                self._asked[task_id] = row.revision
                self.world.clients.begin(self.world.clients.canceller(task_id, 0.0))

    async def look(self) -> None:
        """Look at what must be so at the end."""
        self.world.watch.at_the_end()
        self.world.spaces.at_the_end()
        self.world.pauses.at_the_end()
        look_at_places(self.world.files.reader, self.world.fail)
        present = self.world.present_tracker
        if present is not None and present.tracker is not None:
            await present.tracker.ticker.wait_for_tick()  # what is on disk is in memory, too
            self.world.flow.at_the_end(present.tracker.ticker.ledger.lanes)
        await look_at_bulks(self.world)
        await self._look_at_events()
        health = await self.world.clients.begin(self.world.clients.ask(Health()))
        if not (health["database"]["ok"] and health["tracker"]["ok"] and health["runners"]["ok"]):
            self.world.fail(f"all is well, and /health says {health}")
        aside = [item["what"] for item in health["tracker"]["set_aside"]["list"]]
        if any("submission" not in what and "outbox" not in what for what in aside):
            self.world.fail(f"all is well, and this could not be stored: {aside}")
        idle = self.world.wall_of_tracker() - self.world.checker.renewed_at
        if idle > LEASE_SECONDS / 2:
            self.world.fail(f"all is well, and the epoch was not renewed for {idle} s")

    async def _look_at_events(self) -> None:
        """See that the events of each task, as clients read them, are whole and in order."""
        before = dict(self.world.checker.rows)
        ids = sorted(before)
        space_of = self.world.account.space_of
        queries = [EventQuery(task_id, namespace=space_of(task_id)) for task_id in ids]
        pages = await self.world.clients.begin(self.world.clients.insist(TaskEvents(queries)))
        for task_id, page in zip(ids, pages, strict=True):
            row = self.world.checker.rows.get(task_id)
            if row is None and task_id in self.world.account.pruned:
                continue  # meanwhile
            assert row is not None, task_id
            places = [] if page is None else [event.id for event in page.events]
            if page is None or places != sorted(set(places)):
                self.world.fail(f"the events of {row} are not in order: {page}")
            if row.revision != before[task_id].revision:
                continue  # it went on meanwhile: a schedule makes tasks at the end, too
            states = [event for event in page.events if isinstance(event, StateEntry)]
            if not page.more and (states[-1].state, states[-1].revision) != (
                row.state,
                row.revision,
            ):
                self.world.fail(f"the events of {row} end with {states[-1]}")
