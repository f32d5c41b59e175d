"""The task runner: a detached actor that starts each attempt as its own Ray remote task."""

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from msgspec.structs import replace
from ray.exceptions import (
    NodeDiedError,
    TaskCancelledError,
    TaskPlacementGroupRemoved,
)

from raytasks.handling.registry import Registry
from raytasks.model.retry import PermanentError
from raytasks.model.states import OutcomeKind
from raytasks.model.task_events import LogLine
from raytasks.protocol.messages import Claim, Demand, Outcome
from raytasks.runner.attempt import Attempt
from raytasks.runner.exchange_loop import ExchangeLoop
from raytasks.runner.on_ray.flight import Flight
from raytasks.runner.on_ray.memory_shortage import options_after
from raytasks.runner.on_ray.node_life import node_died
from raytasks.runner.on_ray.placement import Placement
from raytasks.runner.on_ray.ray_options import remote_options
from raytasks.runner.on_ray.remote_attempt import Place, Start, execute
from raytasks.runner.on_ray.tracker_client import RunnerActor, TrackerClient
from raytasks.runner.plan import RunnerPlan
from raytasks.runner.stop import StopReason
from raytasks.runner.warm_work import ASK_SECONDS, INTERRUPT_SECONDS
from raytasks.runner.workplace import Workplace

log = logging.getLogger(__name__)

MOST = 1000
"""How many attempts are handed to Ray at a time."""

_REMEMBERED = 1000

# Deaths before the beginning that no handler causes.
_OUTSIDE = (NodeDiedError, TaskPlacementGroupRemoved, TaskCancelledError)

_EXECUTE = ray.remote(execute)
"""The remote function. Made once: each one stays in Ray's control store while the cluster lives."""


class RemoteWork:
    """The work side of the task runner: it starts remote tasks, follows them and stops them."""

    def __init__(self, plan: RunnerPlan, registry: Registry, me: Any) -> None:
        self._plan = plan
        self._registry = registry
        self._me = me
        self._workplace = Workplace(node_id=ray.get_runtime_context().get_node_id())
        self._flights: dict[str, Flight] = {}
        self._crashed_unbegun: dict[str, int] = {}  # how often, by task
        self._following: set[asyncio.Task[None]] = set()
        options = {name: registry.require(name).ray_options for name in registry.task_types}
        self._placement = Placement(options, self._workplace.now())
        self.exchange: ExchangeLoop | None = None

    def capacity_by_type(self) -> Mapping[str, int]:
        """Return how many more attempts of each type fit the cluster's resources.

        It is 0 for types that would take the resources that the first type in the row waits for.
        """
        flying = Counter(flight.attempt.claim.task_type for flight in self._flights.values())
        return {
            name: self._placement.capacity(name, flying[name]) for name in self._registry.task_types
        }

    def demands(self) -> Sequence[Demand]:
        """Return the demands that wait for resources, the longest wait first."""
        return self._placement.demands

    def capacity(self) -> int:
        """Return how many more attempts fit in all."""
        return max(0, MOST - len(self._flights))

    def start(self, claims: Sequence[Claim]) -> None:
        """Start a remote task for each attempt."""
        for claim in claims:
            attempt = Attempt(self._registry.require(claim.task_type), claim, self._workplace)
            flight = Flight(
                attempt,
                attempt.started_at,
                checkpoint=claim.checkpoint,
                checkpoint_ref=claim.checkpoint_ref,
                group_id=self._placement.group_id(claim.task_type),
            )
            if self._placement.is_blocked(claim.task_type):  # since it was claimed
                self._finished(flight.in_place(attempt.outcome(OutcomeKind.RELEASED)))
                continue
            try:
                flight.ref = self._launch(attempt)
            except Exception as error:
                log.exception("task %s cannot be handed to Ray", claim.task_id)
                refused = PermanentError(f"Ray does not take the task: {error}")
                self._finished(attempt.failed(refused))
                continue
            self._flights[claim.task_id] = flight
            task = asyncio.ensure_future(self._follow(flight))
            self._following.add(task)
            task.add_done_callback(self._following.discard)

    def stop(self, task_id: str, attempt: int) -> None:
        """Stop an attempt whose task was cancelled, at once if it has not begun."""
        flight = self._flight(task_id, attempt)
        if flight is not None:
            flight.attempt.stop.order(StopReason.CANCEL, self._workplace.now())
            if not flight.begun:
                ray.cancel(flight.ref)

    def begin(self, task_id: str, attempt: int, place: Place) -> Start | None:
        """Note that a try of an attempt begins. None: the attempt is not ours any more."""
        flight = self._flight(task_id, attempt)
        if flight is None or flight.recalled:
            return None
        self._crashed_unbegun.pop(task_id, None)
        start = flight.begin(place, self._workplace.now())
        if start.number == 0 and self.exchange is not None:
            self.exchange.begun(task_id, attempt, flight.attempt.started_at)
        return start

    def progress(
        self, task_id: str, attempt: int, number: int, fraction: float | None, message: str | None
    ) -> None:
        """Pass on the progress of an attempt, if it comes from the present try."""
        if self.exchange is not None and self._present(task_id, attempt, number) is not None:
            self.exchange.progress(task_id, fraction, message)

    def log(self, task_id: str, attempt: int, number: int, lines: Sequence[LogLine]) -> None:
        """Pass on the log lines of an attempt, if they come from the present try."""
        flight = self._present(task_id, attempt, number)
        if self.exchange is not None and flight is not None:
            flight.lines = max(flight.lines, *(line.number for line in lines))
            self.exchange.log(task_id, attempt, lines)

    async def checkpoint(
        self, task_id: str, attempt: int, number: int, data: str, ref: str | None = None
    ) -> bool:
        """Return True when a checkpoint is on disk; False if a later attempt or try runs."""
        flight = self._present(task_id, attempt, number)
        if flight is None or self.exchange is None:
            return False
        try:
            await self.exchange.checkpoint(task_id, attempt, data, ref)
        except asyncio.CancelledError:  # the attempt is no longer ours
            return False
        flight.checkpoint, flight.checkpoint_ref = data, ref
        return True

    def stop_reason(self, task_id: str, attempt: int, number: int) -> StopReason | None:
        """Return why the attempt was told to stop; None: it was not.

        If a later attempt or try has the task, this counts as a cancel.
        """
        flight = self._present(task_id, attempt, number)
        return StopReason.CANCEL if flight is None else flight.attempt.stop.reason

    async def stack(self, task_id: str, attempt: int) -> str | None:
        """Return the stack of an attempt; None if it has not begun or its process is silent."""
        flight = self._flight(task_id, attempt)
        return None if flight is None or not flight.begun else await flight.stacks.ask()

    async def stack_wanted(self, task_id: str, attempt: int, number: int) -> bool:
        """Wait until somebody asks for the stack of a try. False: it is not the present one."""
        flight = self._present(task_id, attempt, number)
        return flight is not None and await flight.stacks.wanted()

    def show_stack(self, task_id: str, attempt: int, number: int, text: str | None) -> None:
        """Give the stack of a try to those who asked for it."""
        flight = self._present(task_id, attempt, number)
        if flight is not None:
            flight.stacks.answer(text)

    async def watch(self) -> None:
        """Watch the attempts for ever, and stop those that time out or ignore an order to stop."""
        while True:
            await asyncio.sleep(ASK_SECONDS / 4)
            now = self._workplace.now()
            try:
                for flight in list(self._flights.values()):
                    self._climb(flight, now)
                groups_changed = await self._placement.look(now)
                if self._placement.has_groups:
                    self._leave_groups()
                await self._look_at_demands(now, is_news=groups_changed)
            except Exception:
                log.exception("the running attempts could not be looked at; trying again")

    async def _look_at_demands(self, now: float, *, is_news: bool) -> None:
        """Note which attempts have waited for some time, and tell the tracker if that changed."""
        waiting = [flight.wait(now) for flight in self._flights.values() if not flight.begun]
        changed = await self._placement.look_at_demands(waiting, now)
        self._recall()
        if self.exchange is not None and (changed or is_news):
            self.exchange.changed()

    def _leave_groups(self) -> None:
        """End what was handed to a placement group that is gone: Ray would try it there for ever.

        What waits there is given back. It begins in the group that comes under the same name.
        """
        for flight in self._flights.values():
            self._mark_group_gone(flight)
            if flight.group_gone:
                ray.cancel(flight.ref, force=True)

    async def _look_for_group(self, flight: Flight) -> None:
        """Note whether the placement group of an attempt is gone that did not succeed."""
        if flight.group_id is not None and not flight.group_gone:
            task_type, now = flight.attempt.claim.task_type, self._workplace.now()
            await self._placement.look_for_group(task_type, flight.group_id, now)
            self._mark_group_gone(flight)

    def _mark_group_gone(self, flight: Flight) -> None:
        if flight.group_id != self._placement.group_id(flight.attempt.claim.task_type):
            flight.group_gone = True

    def _recall(self) -> None:
        """Give back attempts that have not begun and must not begin before the first in the row."""
        for flight in self._flights.values():
            if not (flight.begun or flight.recalled) and self._placement.is_held_back(
                flight.attempt.claim.task_type
            ):
                flight.recalled = True
                ray.cancel(flight.ref)

    def _climb(self, flight: Flight, now: float) -> None:
        attempt = flight.attempt
        if flight.begun and attempt.deadline is not None and now >= attempt.deadline:
            attempt.stop.order(StopReason.TIMEOUT, now)
        asked_at = attempt.stop.ordered_at
        if asked_at is None:
            return
        if flight.step == 0 and now - asked_at > ASK_SECONDS:
            flight.step = 1
            ray.cancel(flight.ref)
        elif flight.step == 1 and now - asked_at > ASK_SECONDS + INTERRUPT_SECONDS:
            flight.step = 2
            ray.cancel(flight.ref, force=True)

    def _launch(self, attempt: Attempt) -> Any:
        claim = attempt.claim
        name = f"{claim.task_type}:{claim.task_id}"
        strategy = self._placement.strategy(claim.task_type)
        own = options_after(attempt.spec.ray_options, attempt.spec.retry, claim.short_on)
        options = remote_options(own, self._plan, name=name, strategy=strategy)
        return _EXECUTE.options(**options).remote(self._plan, claim, self._me)

    async def _follow(self, flight: Flight) -> None:
        claim = flight.attempt.claim
        try:
            outcome: Outcome = flight.on_our_clock(await flight.ref)
        except BaseException as error:
            await self._look_for_group(flight)
            outcome = self._outcome_of(flight, error)
        if outcome.kind is OutcomeKind.FAILED:
            await self._look_for_group(flight)
            outcome = flight.excused(outcome)
        if flight.recalled and flight.attempt.stop.reason is None:
            outcome = flight.attempt.outcome(OutcomeKind.RELEASED)
        if flight.attempt.stop.reason is not None and outcome.kind is not OutcomeKind.SUCCEEDED:
            outcome = flight.attempt.stopped(ray_attempt=flight.number)
        elif (
            outcome.kind is OutcomeKind.LOST
            and outcome.charged
            and await node_died(flight.place.node_id)
        ):
            outcome = replace(outcome, charged=False)  # the attempt is not to blame
        if self._flights.get(claim.task_id) is flight:
            del self._flights[claim.task_id]
        flight.stacks.end()
        self._finished(flight.in_place(outcome))

    def _outcome_of(self, flight: Flight, error: BaseException) -> Outcome:
        task_id = flight.attempt.claim.task_id
        crashes = self._crashed_unbegun.get(task_id, 0)
        outcome = flight.outcome_of(error, crashes)
        if outcome.kind is OutcomeKind.RELEASED and not isinstance(error, _OUTSIDE):
            self._crashed_unbegun[task_id] = crashes + 1
            if len(self._crashed_unbegun) > _REMEMBERED:
                del self._crashed_unbegun[next(iter(self._crashed_unbegun))]
        return outcome

    def _finished(self, outcome: Outcome) -> None:
        if self.exchange is not None:
            self.exchange.finished([outcome])

    def _flight(self, task_id: str, attempt: int) -> Flight | None:
        flight = self._flights.get(task_id)
        return flight if flight and flight.attempt.claim.attempt == attempt else None

    def _present(self, task_id: str, attempt: int, number: int) -> Flight | None:
        """Return the flight of a try; None if it is not the present one."""
        flight = self._flight(task_id, attempt)
        return flight if flight is not None and flight.number == number else None


class TaskRunner(RunnerActor):
    """The actor of the task runner. Its own methods are for its remote tasks."""

    def __init__(self, plan: RunnerPlan) -> None:
        self._me = ray.get_runtime_context().current_actor
        self._work: RemoteWork | None = None
        super().__init__(plan)

    @property
    def is_up(self) -> bool:
        """Whether the handlers' modules are loaded."""
        return self._work is not None

    async def started(self, task_id: str, attempt: int, place: Place) -> Start | None:
        """Return how a try is to begin, None if nobody waits for it. Its remote task calls this."""
        start: Start | None = await self._host.call(
            self._on_work(lambda work: work.begin(task_id, attempt, place))
        )
        return start

    async def progress(
        self, task_id: str, attempt: int, number: int, fraction: float | None, message: str | None
    ) -> None:
        """Take the progress of a try. Its remote task calls this."""
        await self._host.call(
            self._on_work(lambda work: work.progress(task_id, attempt, number, fraction, message))
        )

    async def log(self, task_id: str, attempt: int, number: int, lines: list[LogLine]) -> None:
        """Take the log lines of a try. Its remote task calls this."""
        await self._host.call(self._on_work(lambda work: work.log(task_id, attempt, number, lines)))

    async def checkpoint(
        self, task_id: str, attempt: int, number: int, data: str, ref: str | None = None
    ) -> bool:
        """Return whether the checkpoint of a try is on disk now. Its remote task calls this."""
        saved = await self._host.call(
            self._on_work(lambda work: work.checkpoint(task_id, attempt, number, data, ref))
        )
        return bool(saved)  # None in the next life of the actor: nobody waits for the try

    async def stop_reason(self, task_id: str, attempt: int, number: int) -> StopReason | None:
        """Return why a try is to stop; None: it is not. Its remote task calls this."""
        found = await self._host.call(
            self._on_work(lambda work: (work.stop_reason(task_id, attempt, number),))
        )
        # In the next life of the actor nothing is found: then the try should stop.
        reason: StopReason | None = StopReason.CANCEL if found is None else found[0]
        return reason

    async def stack(self, task_id: str, attempt: int) -> str | None:
        """Return the stack of an attempt: see `RunnerActor.stack`."""
        found: str | None = await self._host.call(
            self._on_work(lambda work: work.stack(task_id, attempt))
        )
        return found

    async def stack_wanted(self, task_id: str, attempt: int, number: int) -> bool:
        """Wait until somebody asks for the stack of a try. Its remote task calls this."""
        wanted = await self._host.call(
            self._on_work(lambda work: work.stack_wanted(task_id, attempt, number))
        )
        return bool(wanted)

    async def show_stack(self, task_id: str, attempt: int, number: int, text: str | None) -> None:
        """Take the stack of a try. Its remote task calls this."""
        await self._host.call(
            self._on_work(lambda work: work.show_stack(task_id, attempt, number, text))
        )

    async def _on_work(self, call: Callable[["RemoteWork"], Any]) -> Any:
        if self._work is None:
            return None
        result = call(self._work)
        return await result if inspect.isawaitable(result) else result

    async def _main(self) -> None:
        work = RemoteWork(self._plan, self._plan.registry(), self._me)
        watch = asyncio.ensure_future(work.watch())
        work.exchange = ExchangeLoop(
            self._identity,
            work,
            TrackerClient().exchange,
            is_alive=lambda: not watch.done(),
            demands=work.demands,
        )
        self._work = work
        try:
            await work.exchange.run()
        finally:
            watch.cancel()
