"""One schedule: trackers, runners, replicas and clients on one loop, harmed and then left alone."""

import asyncio
import logging
import traceback
from collections import Counter, deque
from contextlib import nullcontext
from random import Random
from typing import Any
from unittest.mock import patch

from raytasks.model.handler_info import REMOTE_POOL, SHARED_POOL
from raytasks.protocol.messages import Claim
from raytasks.tracker import background as background_module
from raytasks.tracker import bulk_turns as bulk_module
from raytasks.tracker import ticker as ticker_module
from raytasks.tracker.bulk_turns import run_step
from raytasks.tracker.core import Tracker
from raytasks.tracker.tick import TickInput, TickResult, run_tick
from tests.simulation.account import Account
from tests.simulation.answers import Answers
from tests.simulation.bodies import Plan, Script
from tests.simulation.bulks import bulk_maker
from tests.simulation.checker import Checker
from tests.simulation.clients import Clients
from tests.simulation.database import Files, Threads, Trouble
from tests.simulation.ending import Ending
from tests.simulation.faults import Injector
from tests.simulation.flow import Flow
from tests.simulation.kinds import Fault, Swarm
from tests.simulation.loop import Process, SimulatedLoop, Stuck, present_process
from tests.simulation.network import CallFailed, Network
from tests.simulation.pauses import Pauses
from tests.simulation.probes import Probes
from tests.simulation.reasons import Reasons
from tests.simulation.replacing import Replacers
from tests.simulation.replicas import ReplicaLife
from tests.simulation.rivals import Rivals
from tests.simulation.runners import RunnerLife
from tests.simulation.spaces import Spaces
from tests.simulation.sweepers import Sweepers
from tests.simulation.timetable import Timetable
from tests.simulation.trackers import LEASE_SECONDS, TrackerLife, make_store
from tests.simulation.verdict import Broken, Errors, Verdict
from tests.simulation.watch import Watch
from tests.simulation.writers import Writers

NOW = 1_000_000.0
"""The wall time when a schedule begins."""

_TRACED = 80


class World:
    """A schedule that is fixed by its seed."""

    def __init__(
        self,
        files: Files,
        seed: int,
        *,
        without: frozenset[Fault] = frozenset(),
        traced: int | None = _TRACED,
    ) -> None:
        self.seed = seed
        self.files = files
        self.draw = Random(seed)
        self.swarm = Swarm.draw(self.draw, without)
        self.loop = SimulatedLoop(Random(seed + 1_000_000_007))
        self.account = Account()
        self.checker = Checker(files.reader, self.account, self.fail)
        self.answers = Answers(self.checker, files.reader, self.fail)
        self.spaces = Spaces(self)
        self.pauses = Pauses(self)
        has_spaces = self.spaces.is_active
        self.flow = Flow(seed, files.reader, self.account, self.fail, has_spaces=has_spaces)
        self.timetable = Timetable(seed, files.reader, self.account, self.fail)
        self.writers = Writers(self)
        self.sweepers = Sweepers(self)
        self.watch = Watch(self)
        self.reasons = Reasons(self)
        self.trouble = Trouble(self.swarm, self.draw)
        self.trouble.now = self.loop.time
        slowness = self.draw.choice((0.3, 1.0, 1.0, 5.0, 20.0))
        self.patience = 1.0 + slowness / 5 + 30.0 * bool(self.flow.limits)
        self.threads = Threads(self.loop, self.draw, self.trouble, slowness=slowness)
        self.network = Network(self.loop, self.draw, self.swarm)
        self.tracker_skew = self.elsewhere_skew = 0.0
        self.max_crashes = self.draw.choice((1, 3, 50))
        self.retention_seconds = self.draw.choice((None, None, 2.0, 20.0))
        self.account.pruning_after = self.retention_seconds
        self.checker.made_again = self._made_again
        self.faults_stop = asyncio.Event()
        self.broken: str | None = None
        self.cut_short = False
        self.trackers: list[TrackerLife] = []
        self.runners: list[RunnerLife] = []
        self.replicas: list[ReplicaLife] = []
        self.clusters = {"me"}
        self._lives: Counter[str] = Counter()
        self.doubled: set[str] = set()
        self.claimed_at: dict[tuple[str, int], float] = {}
        self._used: dict[Process, TrackerLife] = {}
        self._lines: deque[tuple[Any, ...]] = deque(maxlen=traced)

    # What everybody uses

    def fail(self, what: str) -> None:
        """Note that something does not hold, and end the schedule."""
        if not self._is_over:
            self.broken = what
            self.trace("BROKEN", what)
            self.loop.stop()
        raise Broken(what)

    @property
    def _is_over(self) -> bool:
        return self.cut_short or self.broken is not None

    def _made_again(self, task_id: str) -> None:
        """End the schedule, as a copy of a submission has made a task again that was gone.

        This is known: a tracker does not know what was deleted before its time, by retention, or by
        a write whose answer was lost.
        """
        occurred = self.swarm.occurred
        is_in_doubt = occurred[Fault.FAILS_AFTER_COMMIT] or occurred[Fault.STORE_HANGS]
        is_known = self.checker.gone_in.get(task_id) == self.checker.epoch
        if is_known and not (is_in_doubt or self.retention_seconds):
            self.fail(f"{task_id} was deleted, and is made again")
        self.trace("made again", task_id[-3:])
        self.cut_short = not self._is_over
        self.loop.stop()
        raise Broken

    def trace(self, *what: object) -> None:
        """Note what happens."""
        self._lines.append((round(self.loop.time(), 6), *what))

    def wall(self, process: Process) -> float:
        """Return the wall time in a process."""
        return NOW + self.loop.time() + process.skew

    def wall_of_tracker(self) -> float:
        """Return the wall time of the tracker's machine."""
        return NOW + self.loop.time() + self.tracker_skew

    def script(self, claim: Claim) -> Script:
        """Return what an attempt is to do."""
        return self.clients.plans[claim.task_id].script(self.seed, claim.attempt)

    def replica(self) -> ReplicaLife:
        """Return a replica that a client's connection reaches, of any cluster."""
        return self.draw.choice(self.replicas)

    # Trackers

    @property
    def present_tracker(self) -> TrackerLife | None:
        """The tracker of our cluster that goes by the name now."""
        return self.tracker_named("me")

    def tracker_named(self, owner: str) -> TrackerLife | None:
        """Return the tracker that goes by the name in a cluster: the newest one that lives."""
        mine = [life for life in self.trackers if life.owner == owner]
        alive = [life for life in mine if not life.process.dead]
        return next(reversed(alive or mine), None)

    def make_tracker(self, life: TrackerLife) -> Tracker:
        """Return the core of a new life of the tracker."""
        tracker = Tracker(
            make_store(self),
            lease_seconds=LEASE_SECONDS,
            max_crashes=self.max_crashes,
            clock=life.clock,
            monotonic=self.loop.time,
            owner=life.owner,
            host=life.owner,
            alone=Fault.TRACKER_RIVALLED not in self.swarm.rates,
            executors=self.threads.make,
        )
        if infos := self.writers.infos(self.timetable.infos(self.flow.infos)):
            tracker.set_handlers(infos)
        return tracker

    def start_tracker(self, owner: str, *, again: bool) -> TrackerLife:
        """Start a tracker, which goes by the name from now on."""
        self._lives["tracker"] += 1
        life = TrackerLife(self, self._lives["tracker"], owner, again=again)
        self.trackers.append(life)
        life.process.on_death.append(lambda: self._tracker_died(life))
        self.trace("tracker starts", life.process.name, owner)
        return life

    def tracker_of(self, process: Process, owner: str) -> TrackerLife:
        """Return its cluster's tracker that a process knows: maybe an old one that still lives."""
        known = self._used.get(process)
        present = self.tracker_named(owner)
        is_old = known is not None and known is not present and not known.process.dead
        if known is not None and is_old and self.draw.random() < 0.7:
            return known
        if present is None or present.process.dead:
            raise CallFailed("there is no tracker now")
        self._used[process] = present
        return present

    def _tracker_died(self, life: TrackerLife) -> None:
        self.trace("tracker died", life.process.name)

        def again() -> None:
            if life.owner not in self.clusters:
                return
            if all(item.process.dead or item.owner != life.owner for item in self.trackers):
                self.start_tracker(life.owner, again=True)

        delay = self.draw.uniform(0.2, 2.0)
        self.loop.call_later(delay, again, context=self.loop.outside.context)

    def watchdog_replaces(self, life: TrackerLife) -> None:
        """End a tracker that a watchdog takes for frozen. One that runs is never to be taken so."""
        self.trace("watchdog replaces", life.process.name)
        if life.process.runs and not self.swarm.active:
            self.fail(f"a watchdog has ended {life.process.name}, which runs")
        life.process.kill()

    # Runners

    def start_runner(self, name: str, pool: str, owner: str = "me") -> RunnerLife:
        """Start a process of a runner in a cluster."""
        if any(
            (life.name, life.owner) == (name, owner) and not life.process.dead
            for life in self.runners
        ):
            self.doubled.add(name)
        self._lives[name] += 1
        life = RunnerLife(self, name, pool, self._lives[name], owner)
        self.runners.append(life)
        return life

    def crash(self, life: RunnerLife, *, told: bool | None = None) -> None:
        """Kill a runner's process. The tracker may be told, or find out by itself."""
        self.trace("runner dies", life.runner_id)
        life.process.kill()
        told = self.draw.random() < 0.6 if told is None else told
        self._go_on_without(life, told=told)

    def runner_ended(self, life: RunnerLife) -> None:
        """Note that a runner has left, or was told to end; another one takes its place."""
        self.trace("runner left", life.runner_id)
        life.process.kill()
        self._go_on_without(life, told=True)

    def replace_runner(self, name: str, owner: str) -> None:
        """End the process of a cluster's runner that was not heard of, and start another."""
        for life in self.runners:
            if (life.name, life.owner) == (name, owner) and not life.process.dead:
                self.crash(life)

    def tell_of_death(self, tracker: TrackerLife, runner_id: str) -> None:
        """Tell a tracker that a runner is dead."""
        core = tracker.tracker
        assert core is not None

        async def lose() -> None:
            core.mark_lost(runner_id, "died")
            self.watch.told_of_death(runner_id, tracker)

        tracker.process.start(lose())

    def _go_on_without(self, life: RunnerLife, *, told: bool) -> None:
        self.runners.remove(life)

        def tell() -> None:
            tracker = self.tracker_named(life.owner)
            if tracker is None or tracker.tracker is None or not tracker.process.runs:
                return
            if tracker.tracker.outpost.active:
                return
            if tracker.loaded_at <= self.loop.time():  # as its pools begin only then
                self.tell_of_death(tracker, life.runner_id)

        def again() -> None:
            if life.owner not in self.clusters:
                return
            if any((other.name, other.owner) == (life.name, life.owner) for other in self.runners):
                return
            name = life.name
            if self.draw.random() < 0.3:
                self._lives["names"] += 1
                name = f"{life.name[0]}{100 + self._lives['names']}"
            self.start_runner(name, life.pool, life.owner)

        outside = self.loop.outside.context
        if told:
            self.loop.call_later(self.draw.uniform(0.0, 0.3), tell, context=outside)
        self.loop.call_later(self.draw.uniform(0.1, 1.0), again, context=self.loop.outside.context)

    # Replicas

    def kill_replica(self, life: ReplicaLife) -> None:
        """Kill a replica; Serve starts another."""
        life.process.kill()
        self.replicas[self.replicas.index(life)] = ReplicaLife(self, life.name, life.owner)

    # Clusters

    def start_cluster(self, owner: str) -> None:
        """Start a cluster of another owner on the same database."""
        self.clusters.add(owner)
        self.start_tracker(owner, again=False)
        for name, pool in (("r1", SHARED_POOL), ("f1", REMOTE_POOL)):
            self.start_runner(name, pool, owner)
        self.replicas.append(ReplicaLife(self, f"api of {owner}", owner))

    def kill_cluster(self, owner: str) -> None:
        """Kill all of a cluster at once."""
        self.trace("cluster dies", owner)
        self.clusters.discard(owner)
        for life in [life for life in self.runners if life.owner == owner]:
            self.runners.remove(life)
            life.process.kill()
        for replica in [item for item in self.replicas if item.owner == owner]:
            self.replicas.remove(replica)
            replica.process.kill()
        for tracker in self.trackers:
            if tracker.owner == owner and not tracker.process.dead:
                tracker.process.kill()

    # The schedule

    def run(self) -> Verdict:
        """Run the schedule."""
        self.files.reset()
        database = self.files.database
        database.trouble, database.committed = self.trouble, self._committed
        self.store = make_store(self)
        noticed = Errors(self.trace, self.fail)
        log = logging.getLogger("raytasks")
        log.addHandler(noticed)
        log.propagate, propagated = False, log.propagate
        planned = patch.object(ticker_module, "run_tick", self._planned(run_tick))
        stepped = patch.object(background_module, "run_step", self._stepped)
        short = patch.object(bulk_module, "STEP", self.draw.choice((1, 2, 4, bulk_module.STEP)))
        silent = nullcontext() if self.writers.is_active else self.writers.silence
        try:
            with planned, stepped, short, silent:
                story = self.loop.outside.start(self._story())
                self.loop.set_exception_handler(self._on_exception)
                self.loop.run_until_complete(story)
        except Broken:
            pass
        except Stuck as error:
            if not self._is_over:
                self.broken = str(error)
        except Exception as error:
            if not self._is_over:  # else it is only that the loop was stopped
                self.broken = "".join(traceback.format_exception(error))
        finally:
            log.removeHandler(noticed)
            log.propagate = propagated
            steps, seconds = self.loop.steps, self.loop.time()
            self.trouble.end()
            self.swarm.active = False
            self.loop.end()
        return Verdict(
            self.seed,
            self.broken,
            steps,
            seconds,
            self.swarm.occurred,
            [" ".join(map(str, line)) for line in self._lines],
            self.cut_short,
        )

    def _on_exception(self, _loop: object, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not self._is_over and "handle" in context and error is not None:
            self.broken = "".join(traceback.format_exception(error))
            self.loop.stop()

    def _planned(self, run_tick: Any) -> Any:
        def planned(store: Any, work: TickInput) -> TickResult:
            self.checker.planned(work)
            self.timetable.planned(work, self.clients)
            self.writers.planned(work)
            keys = [(outcome.task_id, outcome.attempt) for _, outcome in work.outcomes]
            with self.trouble.poisoning(keys):
                done: TickResult = run_tick(store, work)
                return done

        return planned

    def _stepped(self, store: Any, epoch: int, now: float, *more: Any) -> Any:
        self.checker.stepped_at = now
        return run_step(store, epoch, now, *more)

    def _committed(self) -> None:
        process = present_process()
        life = next((item for item in self.trackers if item.process is process), None)
        epoch = None if life is None else life.epoch
        clock = self.wall(process)
        self.checker.claimed = self.pauses.claimed
        self.checker.lost = lambda row: self.reasons.lost(row, life)
        self.checker.released = lambda row: self.reasons.released(row, life)
        self.clients.callbacks.look()
        former, reigned = self.checker.owner, self.checker.epoch
        changed = self.checker.look(process.name, epoch, clock)
        if self.checker.epoch != reigned:
            self.reasons.taken_over(former, life)
        self.flow.look(self.loop.time())
        self.timetable.look()
        self.writers.look()
        for task_id in changed:
            row = self.checker.rows.get(task_id)
            if row is None:
                self.trace("pruned", task_id[-3:])
            else:
                self.claimed_at.setdefault((task_id, row.attempt), self.loop.time())
                self.trace(
                    process.name,
                    task_id[-3:],
                    row.state,
                    row.attempt,
                    row.runner_id,
                    "cancelled" if row.cancel_requested else "",
                )

    def _plan(self, number: int) -> Plan:
        kind = self.draw.random()
        is_poison = kind > 0.94 and self.max_crashes < 10
        return Plan(number, endless=kind < 0.1, poison=is_poison)

    async def _story(self) -> None:
        draw = self.draw
        self.clients = Clients(self)
        self.start_tracker("me", again=False)
        for name, pool in (("r1", SHARED_POOL), ("r2", SHARED_POOL), ("f1", REMOTE_POOL)):
            self.start_runner(name, pool)
        self.replicas += [ReplicaLife(self, name) for name in ("api 1", "api 2")]
        count = draw.choice((3, 6, 9))
        plans = [self._plan(number) for number in range(1, count + 1)]
        for part in range(3):
            self.clients.begin(self.clients.submitter(plans[part::3]))
        if is_paused := draw.random() < 0.35:
            self.clients.begin(self.clients.pauser())
        if draw.random() < 0.4:
            self.clients.begin(bulk_maker(self))
        if draw.random() < 0.3:
            self.clients.begin(self.clients.reader())
        Rivals(self).begin()
        Replacers(self).begin()
        self.writers.begin()
        self.spaces.begin()
        self.sweepers.begin()
        self.pauses.begin(may_be_all=not is_paused)
        self.timetable.begin(self.clients)
        Injector(self).begin()
        self.loop.outside.start(self.watch.run())
        for _ in range(3):
            await asyncio.sleep(draw.uniform(1.0, 4.0))
            self.trouble.aside = True
            Probes(self).fences()
            self.trouble.aside = False
            Probes(self).memory()
        ending = Ending(self)
        await ending.calm()
        probes = Probes(self)
        await probes.run()
        await self.pauses.probe(probes)
        await self.spaces.probe(probes)
        await ending.look()
