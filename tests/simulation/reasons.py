"""The judge of reasons: nothing is lost, given back or taken over without one."""

from typing import TYPE_CHECKING

from tests.simulation.account import Row
from tests.simulation.kinds import ON_CALLS, Fault
from tests.simulation.trackers import LEASE_SECONDS, TrackerLife

if TYPE_CHECKING:
    from tests.simulation.runners import RunnerLife
    from tests.simulation.world import World


class Reasons:
    """Judges, of a write, who had what reason; `life` is the tracker that wrote, if one did."""

    def __init__(self, world: "World") -> None:
        self.world = world

    def taken_over(self, former: str | None, life: TrackerLife | None) -> None:
        """See that no cluster takes the database back from one that works."""
        world = self.world
        present = None if former is None else world.tracker_named(former)
        if life is None or present is None or not life.is_back or former == life.owner:
            return
        now = world.loop.time()
        calm_since = max(world.trouble.seen_at, present.frozen_at)
        loaded = present.loaded_at <= now
        if present.process.runs and loaded and now - calm_since > LEASE_SECONDS + 2.0:
            world.fail(f"{life.owner} takes the database back from {former}, which works")

    def lost(self, row: Row, life: TrackerLife | None) -> None:
        """See that an attempt that was lost was not lost without a reason."""
        key = (row.task_id, row.attempt)
        if life is None:
            return
        assert row.runner_id is not None
        world = self.world
        same = world.checker.claimed_by.get(key) == life.process.name
        told = key in world.account.handed
        if not told and same and life.reloaded_at < world.claimed_at.get(key, 0.0):
            world.fail(f"{key} was lost, and no runner has ever heard of it")
        runners = [other for other in world.runners if other.runner_id == row.runner_id]
        heard_at = life.heard_at.get(row.runner_id, -1000.0)
        for runner in runners:
            if world.watch.was_told(row.runner_id):
                continue
            lives = runner.process.runs and not runner.process.cut_off and not runner.left
            # Of two that live under one name, who calls last is taken for the newer one.
            now = world.loop.time()
            if lives and runner.name not in world.doubled and now - heard_at < LEASE_SECONDS / 2:
                world.fail(f"{key} was lost with {row.runner_id}, which lives and was just heard")
            if lives and self._is_calm(runner):
                world.fail(f"{key} was lost with {row.runner_id}, whose cluster lives")

    def _is_calm(self, runner: "RunnerLife") -> bool:
        """Return whether a runner and its cluster have worked for long without any trouble."""
        world = self.world
        tracker = world.tracker_named(runner.owner)
        if tracker is None or not tracker.process.runs or runner.name in world.doubled:
            return False
        if {Fault.CUT_OFF, *ON_CALLS} & world.swarm.rates.keys() and world.swarm.active:
            return False
        begun = max(tracker.begun_at, runner.begun_at, world.trouble.seen_at)
        begun = max(begun, tracker.frozen_at, runner.process.changed_at)
        return world.loop.time() - begun > 2 * LEASE_SECONDS

    def released(self, row: Row, life: TrackerLife | None) -> None:
        """See that no attempt is given back whose runner has said how it ended."""
        world = self.world
        key = (row.task_id, row.attempt)
        runner_id, said = world.account.said.get(key, (None, None))
        if life is None or said is None or runner_id != row.runner_id:
            return
        alive = (item for item in world.runners if item.process.runs)
        heard = {item.runner_id for item in alive if item.name not in world.doubled}
        if runner_id not in heard or world.watch.was_told(runner_id):
            return  # what it has said may be on its way still when its end is known
        same = world.checker.claimed_by.get(key) == life.process.name
        if said.kind != "released" and same and life.reloaded_at < world.claimed_at.get(key, 0.0):
            world.fail(f"{key} was given back, but {runner_id} has said: {said}")
