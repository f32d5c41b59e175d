"""Random work against a naive model: limits and order hold, and nothing waits without a reason."""

import json
from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from raytasks.model.controls import Limit
from raytasks.model.handler_info import HandlerInfo
from raytasks.model.lane_names import limit_values_of
from raytasks.model.states import OutcomeKind
from raytasks.model.steering import LimitSetting, NamespaceSetting, Pause, Steering
from raytasks.model.tasks import Running
from raytasks.tracker.gates import Gate
from raytasks.tracker.sharing import CapacityRequest
from tests.tracker.claim_world import NOW, ClaimWorld, Task, info

ALL = Limit("all", running=3)
KEY = Limit("key", running=2, by="/key")
OTHER = Limit("other", running=3, by="/other")
RATE = Limit("rate", rate=2.0, burst=3)
KEYED_RATE = Limit("keyed-rate", rate=1.0, burst=2, by="/key")
ORDER = Limit("order", running=1, by="/key", ordered=True)
OTHER_ORDER = Limit("other-order", running=1, by="/other", ordered=True)
RATED_ORDER = Limit("rated", running=1, rate=1.0, burst=2, by="/key", ordered=True)
BOTH = Limit("both", running=2, rate=1.0, burst=2)
KEYED_BOTH = Limit("keyed-both", running=1, rate=1.0, burst=2, by="/key")

VERSIONS: tuple[tuple[HandlerInfo, ...], ...] = (
    (info("a"), info("b")),
    (info("a", ALL), info("b", ALL), info("c")),
    (info("a", KEY), info("b", KEY, OTHER), info("c", OTHER, ALL)),
    (info("a", RATE), info("b", KEYED_RATE, KEY), info("c")),
    (info("a", ORDER), info("b", ORDER, KEY), info("c", RATE)),
    (info("a", ORDER), info("b"), info("c", ALL, weight=3.0)),
    (info("a", BOTH), info("b", BOTH, KEYED_BOTH), info("c")),
    (info("a", KEYED_BOTH), info("b", ALL), info("c", OTHER, KEYED_BOTH)),
    (info("a", ORDER), info("b", ORDER, OTHER_ORDER), info("c", OTHER_ORDER, ALL)),
    (info("a", RATED_ORDER), info("b", ALL, RATED_ORDER), info("c", KEY, RATED_ORDER)),
)
TYPES = ("a", "b", "c")
SPACES = ("default", "n2")

types = st.sampled_from(TYPES)
spaces = st.sampled_from(SPACES)


class ClaimMachine(RuleBasedStateMachine):
    """Ticks, ends, pauses and new versions in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = ClaimWorld()
        self.steering = Steering()
        self.begun: defaultdict[tuple[str, Any], list[float]] = defaultdict(list)

    @initialize(version=st.sampled_from(VERSIONS))
    def begin(self, version: tuple[HandlerInfo, ...]) -> None:
        """Put one version in force."""
        self.world.declare(*version)

    @rule(version=st.sampled_from(VERSIONS))
    def deploy(self, version: tuple[HandlerInfo, ...]) -> None:
        """Put another version in force: what waits has the values of the former one."""
        self.world.declare(*version)
        self._put_off_again()
        for name, key in list(self.begun):
            if name not in self.world.book.limits.by_name:
                del self.begun[name, key]  # it begins again if it comes back

    @rule(task_type=types, capacity=st.integers(1, 3))
    def look_elsewhere(self, task_type: str, capacity: int) -> None:
        """A version finds the values of a type at other places; ticks come before the moves."""
        for key in ("x1", "x2"):
            self.world.add(task_type, key)
        self._note(self.world.tick(_request(1, [task_type])))
        others = {"/key": "/other", "/other": "/key", None: None}
        infos = dict(self.world.infos)
        if task_type in infos:
            limits = (replace(each, by=others[each.by]) for each in infos[task_type].limits)
            infos[task_type] = replace(infos[task_type], limits=tuple(limits))
            self.deploy(tuple(infos.values()))
            self._note(self.world.tick(_request(capacity, TYPES)))

    @rule(
        version=st.sampled_from(VERSIONS), task_type=types, key=st.sampled_from(("x1", "y1", None))
    )
    def add_by_another(
        self, version: tuple[HandlerInfo, ...], task_type: str, key: str | None
    ) -> None:
        """A task comes with the values of any version: a retry, or what has become due."""
        self.world.add(task_type, key, infos={item.task_type: item for item in version})

    @rule()
    def move(self) -> None:
        """Some tasks are moved to the lanes of their types."""
        self.world.move()

    @rule(
        task_type=types,
        key=st.sampled_from(("x1", "x2", "y1", None)),
        space=spaces,
        number=st.integers(1, 4),
        ahead=st.sampled_from((0.0, 0.0, 1.0, 50.0)),
    )
    def add(self, task_type: str, key: str | None, space: str, number: int, ahead: float) -> None:
        """Some tasks come, perhaps with a better rank than all others, or all with the same."""
        for _ in range(number):
            task = self.world.add(task_type, key, space, rank=float(NOW) if ahead == 1.0 else None)
            if ahead > 1.0:
                self.world.cancel(task)
                self.world.add(task_type, key, space, rank=task.rank - ahead)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """A task is cancelled that waits."""
        waiting = [task for task in self.world.tasks.values() if task.running is None]
        if waiting:
            task = data.draw(st.sampled_from(waiting))
            self.world.cancel(task)
            self.world.book.limits.put_offs.remove(task.task_id)

    @rule(seconds=st.sampled_from((0.1, 0.5, 1.0, 5.0)))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.world.now += seconds
        self.world.promote()

    @rule(
        data=st.data(),
        capacity=st.integers(0, 5),
        kind=st.sampled_from(
            (OutcomeKind.SUCCEEDED, OutcomeKind.FAILED, OutcomeKind.LOST, OutcomeKind.RELEASED)
        ),
        delay=st.sampled_from((0.0, 0.5)),
    )
    def tick(self, data: st.DataObject, capacity: int, kind: OutcomeKind, delay: float) -> None:
        """Some attempts end, and a runner has room for some types."""
        running = self.world.running
        ending = data.draw(st.lists(st.sampled_from(running), unique_by=id)) if running else []
        some = data.draw(st.lists(types, unique=True))
        more: dict[str, Any] = {}
        if kind is OutcomeKind.FAILED:
            more = {"retryable": True, "delay_seconds": delay}
        request = _request(capacity, some)
        ends = [self.world.end(item, kind, **more) for item in ending]
        if kind is OutcomeKind.RELEASED:
            self._forget_begun(ending)
        self._note(self.world.tick(*[request] if capacity and some else [], ends=ends))

    @rule(
        capacity=st.integers(1, 5),
        some=st.lists(types, unique=True, min_size=1),
        in_doubt=st.booleans(),
    )
    def tick_fails(self, capacity: int, some: list[str], in_doubt: bool) -> None:
        """A tick is planned, and not committed, or nobody knows whether it was."""
        self.world.fail(_request(capacity, some), in_doubt=in_doubt)

    @rule(task_type=st.sampled_from(("", *TYPES)), space=st.sampled_from(("", *SPACES)))
    def pause(self, task_type: str, space: str) -> None:
        """Something is paused, or goes on."""
        pauses = dict(self.steering.pauses)
        if pauses.pop((space, task_type), None) is None:
            pauses[space, task_type] = Pause(space, task_type, NOW, None, "me")
        self._steer(pauses=pauses)

    @rule(weight=st.sampled_from((0.5, 4.0)))
    def weigh(self, weight: float) -> None:
        """A namespace gets another share."""
        setting = NamespaceSetting("n2", weight, None, NOW, "me")
        self._steer(namespaces={"n2": setting})

    @rule(running=st.sampled_from((None, 1, 2, 5)))
    def set_limit(self, running: int | None) -> None:
        """The bound of two limits changes, or is the declared one again."""
        limits = {}
        if running is not None:
            for name in ("all", "key"):
                limits[name] = LimitSetting(name, running, None, 1.0, None, NOW, "me")
        self._steer(limits=limits)

    @rule()
    def declare_again(self) -> None:
        """The version is put in force again: memory is made from itself."""
        self.world.book.set_handlers(tuple(self.world.infos.values()))
        self._put_off_again()

    @rule()
    def all_that_can_run_is_claimed(self) -> None:
        """With room for everything, ticks leave nothing that could run."""
        for _ in range(100):
            claimed = self.world.tick(_request(1000, TYPES))
            self._note(claimed)
            moved = self.world.move()
            if not (moved or claimed or self.world.lanes.has_news or self.world.has_more):
                break
        left = [task for task in self.world.tasks.values() if self._can_run(task)]
        assert not left, left
        assert not self.world.lanes.open_work(TYPES), "blocked tasks count as open work"

    def _steer(self, **changes: Any) -> None:
        before = self.steering
        self.steering = Steering(
            limits=changes.get("limits", before.limits),
            namespaces=changes.get("namespaces", before.namespaces),
            pauses=changes.get("pauses", before.pauses),
        )
        self.world.lanes.steer(self.steering)

    def _put_off_again(self) -> None:
        limits = self.world.book.limits
        for task in self.world.tasks.values():
            if task.running is None and not task.ready:
                gates = limits.gates_of(task.task_type, task.namespace, task.values)
                limits.put_offs.add(task.task_id, NOW + task.due, gates)

    def _gates(self, item: Task | Running) -> list[Gate]:
        values = item.values if isinstance(item, Task) else item.limit_values
        limits = self.world.book.limits
        return list(limits.gates_of(item.task_type, item.namespace, values))

    def _note(self, claimed: list[Running]) -> None:
        """Judge the claims of a tick."""
        for running in claimed:
            task = self.world.tasks[running.task_id]
            assert self.steering.pause_of(task.namespace, task.task_type, NOW) is None
            assert self._is_in_place(task), f"{task} was claimed with values of another version"
            for gate in self._gates(running):
                name, bound = gate.limit.name, gate.limit.running
                if bound is not None:
                    assert self.world.counts(name)[gate.key] <= bound, (name, gate.key)
                self.begun[name, gate.key].append(self.world.now)
                if gate.limit.declared.ordered:
                    self._judge_order(task, name, gate.key)
        for (name, _), times in self.begun.items():
            limit = {"rate": RATE, "keyed-rate": KEYED_RATE}.get(name)
            if limit is not None and limit.rate is not None and limit.burst is not None:
                for place, since in enumerate(times):
                    allowed = limit.rate * (self.world.now - since) + limit.burst
                    assert len(times) - place <= allowed + 1e-6, (name, times)

    def _forget_begun(self, released: list[Running]) -> None:
        """Count attempts no more that were given back before they began: nor do their tokens."""
        for running in released:
            for gate in self._gates(running):
                times = self.begun[gate.limit.name, gate.key]
                mine = [at for at in times if abs(NOW + at - running.claimed_at) < 1e-3]
                if mine:  # if not, it was claimed before this limit was in force
                    times.remove(mine[0])

    def _judge_order(self, task: Task, name: str, key: Any) -> None:
        for other in self.world.tasks.values():
            if other is task or other.running is not None or not self._is_in_place(other):
                continue
            same = any(g.limit.name == name and g.key == key for g in self._gates(other))
            assert not same or (other.rank, other.task_id) > (task.rank, task.task_id), (
                f"{task} was claimed before {other}"
            )

    def _is_in_place(self, task: Task) -> bool:
        """Return whether the values of a task are those of its type; of a foreign one, by name."""
        info = self.world.infos.get(task.task_type)
        if info is None:
            return True
        if not task.foreign:
            return task.values == limit_values_of(json.loads(task.payload), info.limits)
        names = {limit.name for limit in info.limits if limit.by is not None}
        return names == set(json.loads(task.values or "{}"))

    def _can_run(self, task: Task) -> bool:
        if not task.ready or self.steering.pause_of(task.namespace, task.task_type, NOW):
            return False
        for gate in self._gates(task):
            bound, counts = gate.limit.running, self.world.counts(gate.limit.name)
            if bound is not None and counts[gate.key] >= bound:
                return False
            if gate.limit.per_second and gate.room(self.world.now) < 1:
                return False
            if gate.limit.declared.ordered:
                rivals = [item for item in self.world.tasks.values() if gate in self._gates(item)]
                if any(not (item.ready or item.running) for item in rivals):
                    return False  # it is put off
                if min(rivals, key=lambda item: (item.rank, item.task_id)) is not task:
                    return False
        return True

    @invariant()
    def memory_is_right(self) -> None:
        """Compare lanes and counts with what a search through all finds."""
        ready: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        for task in self.world.tasks.values():
            if task.ready:
                ready[task.task_type, task.lane].append(task.rank)
        rows = {(row.task_type, row.lane): row for row in self.world.lanes.rows()}
        assert {key: len(ranks) for key, ranks in ready.items()} == {
            key: row.waiting for key, row in rows.items()
        }
        assert all(rows[key].rank <= min(ranks) for key, ranks in ready.items())
        for limit in self.world.book.limits.by_name.values():
            counts = self.world.counts(limit.name)
            assert all(gate.running == counts[key] for key, gate in limit.gates.items())
            assert all(not (gate.ending or gate.reserved) for gate in limit.gates.values())
            assert all(counts[key] == 0 or key in limit.gates for key in counts)

    @invariant()
    def every_open_lane_is_in_its_queue(self) -> None:
        """See that lanes that a plan took from their queues have come back, with their gates."""
        lanes, limits = self.world.lanes, self.world.book.limits
        at_hand: Counter[int] = Counter()
        for row in lanes.rows():
            lane = lanes.find(row.task_type, row.lane)
            assert lane is not None
            if lane.parked_at is None:
                assert (lane.floor, lane) in lane.queue.heap
            at_hand.update(map(id, lane.gates or ()))
        for limit in limits.by_name.values():
            for gate in limit.gates.values():
                assert gate.lanes == at_hand.pop(id(gate), 0)
        assert not at_hand, "a lane has a gate at hand that was forgotten"


def _request(capacity: int, some: Any) -> CapacityRequest:
    return CapacityRequest("r1", dict.fromkeys(some, capacity), capacity, None, empty=False)


TestClaimMachine = pytest.mark.untraced(ClaimMachine.TestCase)
TestClaimMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
