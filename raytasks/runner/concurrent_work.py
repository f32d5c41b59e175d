"""The work side of a concurrent warm runner: slots by type, on one event loop and in threads."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from raytasks.handling.declaration import HandlerSpec
from raytasks.handling.registry import Registry
from raytasks.model.states import OutcomeKind
from raytasks.protocol.messages import Claim, Outcome
from raytasks.runner.attempt import Attempt
from raytasks.runner.attempt_loop import AttemptLoop
from raytasks.runner.attempt_threads import AttemptThreads
from raytasks.runner.batch_call import BatchCall
from raytasks.runner.exchange_loop import ExchangeLoop
from raytasks.runner.handler_call import HandlerCall
from raytasks.runner.handler_instances import HandlerInstances
from raytasks.runner.host import end_process
from raytasks.runner.last_outcomes import last_outcomes
from raytasks.runner.nested import NOTICE_SECONDS, WaitingCall, stands_still
from raytasks.runner.slots import Slots
from raytasks.runner.stacks import loop_stack_text, stack_text
from raytasks.runner.stop import StopReason
from raytasks.runner.surroundings import Surroundings
from raytasks.runner.warm_channel import LogRelay, WarmChannel
from raytasks.runner.warm_work import (
    ASK_SECONDS,
    INTERRUPT_SECONDS,
    LEAVE_SECONDS,
    STUCK_SECONDS,
    WATCH_SECONDS,
    peak_memory_bytes,
)
from raytasks.runner.workplace import Workplace

log = logging.getLogger(__name__)

DRAIN_SECONDS = 30.0
"""How long the other attempts of a process may take to end once one cannot be interrupted."""

BLOCKED_SECONDS = 30.0
"""How long one attempt may block the event loop while others wait on it."""


class ConcurrentWork:
    """Begins claims at once in the slots of their types, and stops what must stop.

    Async handlers run on one event loop, others in a thread each. A cancel or a timeout has three
    steps, as in `WarmWork`: the context says so, then an exception is thrown into the handler. What
    does not end then keeps its slot: the runner takes nothing new, and lets the others end, for at
    most `DRAIN_SECONDS`. Then it leaves, so that its process ends. What the process's end stops has
    its outcome after that, so that no retry runs beside it.

    All methods belong to the event loop of the exchanges.
    """

    def __init__(
        self, registry: Registry, workplace: Workplace, *, max_tasks: int, max_memory_bytes: int
    ) -> None:
        self._workplace = workplace
        workplace.middleware = registry.middleware
        self._max_tasks = max_tasks
        self._max_memory_bytes = max_memory_bytes
        self._event_loop = asyncio.get_running_loop()
        self._slots = {name: Slots(registry.require(name)) for name in registry.task_types}
        self._instances = HandlerInstances(registry, workplace.home)
        parts = self._instances, workplace, self._channel, self._notify_end
        self._threads = AttemptThreads(*parts)
        self._async = AttemptLoop(*parts, self._notify_ready)
        self._exchange: ExchangeLoop | None = None
        self._calls: dict[int, HandlerCall] = {}
        self._by_key: dict[tuple[str, int], tuple[HandlerCall, Attempt]] = {}
        self._began_at: dict[int, float] = {}
        self._ended: deque[HandlerCall] = deque()
        self._ended_scheduled = False
        self._watch_task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._surroundings: Surroundings | None = None
        self._loaded_memory = 0
        self._done = 0
        self._drains_since: float | None = None
        self._over = False
        self._unfit = False
        self._waits_since: float | None = None
        self._waits_told: str | None = None
        self._was_blocked = False
        self.lines = LogRelay(self._event_loop)
        self.loaded = False
        """Whether the handlers are loaded."""

    def begin(self, exchange: ExchangeLoop) -> None:
        """Start the threads; outcomes go to this exchange loop."""
        self._exchange = self.lines.exchange = exchange
        self._async.start()

    def is_alive(self) -> bool:
        """Return whether the threads still work."""
        return self._async.is_alive and self._threads.is_alive

    def capacity_by_type(self) -> Mapping[str, int]:
        """Return how many more attempts of each type fit; empty before the handlers are loaded."""
        if not self.loaded:
            return {}
        now = self._workplace.now()
        return {
            name: 0 if slots.spec.is_async and self._is_blocked else slots.free(now)
            for name, slots in self._slots.items()
        }

    def capacity(self) -> int:
        """Return how many more attempts fit in all."""
        return sum(self.capacity_by_type().values())

    def start(self, claims: Sequence[Claim]) -> None:
        """Begin attempts, or add them to the next batch of their type."""
        now = self._workplace.now()
        for claim in claims:
            self._slots[claim.task_type].add(claim, now)
        self._begin_calls()
        if self._watch_task is None or self._watch_task.done():
            self._watch_task = self._event_loop.create_task(self._watch())

    def stop(self, task_id: str, attempt: int) -> None:
        """Stop an attempt, whether it runs or waits for its batch."""
        for slots in self._slots.values():
            taken = slots.take_back(task_id)
            self._loop.not_begun(taken, OutcomeKind.CANCELLED)
        _, running = self._by_key.get((task_id, attempt), (None, None))
        if running is not None:
            running.stop.order(StopReason.CANCEL, self._workplace.now())

    def waits_for(self) -> str | None:
        """Return a task that attempts here wait for; None if they go on. See `stands_still`."""
        return self._waits_told

    def stack(self, task_id: str, attempt: int) -> str | None:
        """Return the stack of an attempt; None if it does not run now. From any thread."""
        call, running = self._by_key.get((task_id, attempt), (None, None))
        if call is None or running is None:
            return None
        task = self._async.task_of(call)
        if task is not None:
            return loop_stack_text(task, self._async.thread_id)
        thread_id = self._threads.thread_id(call)
        return None if thread_id is None else stack_text(running, thread_id)

    def look(self) -> None:
        """Look at the running attempts, and take the next step with those that are to stop."""
        now = self._workplace.now()
        self._async.ping()
        if self._is_blocked != self._was_blocked:
            self._was_blocked = self._is_blocked
            self._loop.changed()
        self._note_waits(now)
        for slots in self._slots.values():
            waits = slots.running >= slots.spec.concurrency and slots.since is not None
            if waits and now - (slots.since or now) > STUCK_SECONDS:
                self._give_back(slots)
        stuck: list[HandlerCall] = []
        for call in [*self._calls.values()]:
            step = call.step  # first: the next step may begin in its thread meanwhile
            call.note_deadlines(now)
            since = call.stop_since
            if call.stuck or (since is not None and now - since > ASK_SECONDS + INTERRUPT_SECONDS):
                stuck.append(call)
            elif since is not None and now - since > ASK_SECONDS and _is_due(call, step):
                call.interrupted_step = step
                self._place(call.spec).interrupt(call, step)
        self._drain(stuck, now)

    def _drain(self, stuck: list[HandlerCall], now: float) -> None:
        """Leave once an attempt cannot be interrupted, when the others have ended."""
        on_loop = [call for call in self._calls.values() if call.spec.is_async]
        blocks = self._async.executing() if self._is_blocked else None
        saves = blocks is not None and any(attempt.saving for attempt in blocks.attempts)
        too_long = (
            self._async.blocked_seconds > BLOCKED_SECONDS
            and len(on_loop) > 1
            and not saves  # it waits for the tracker
        )
        if not stuck and not too_long:
            return
        if self._drains_since is None:
            self._drains_since = now
            log.warning("an attempt here cannot be interrupted: the process ends after the others")
            self._leave()
        # On a blocked loop nothing ends, so all on it are stuck together.
        hopeless = {id(call) for call in [*stuck, *(on_loop if self._is_blocked else ())]}
        if not self._over and (
            hopeless >= self._calls.keys() or now - self._drains_since > DRAIN_SECONDS
        ):
            self._over = True
            self.lines.pass_on()
            self._loop.end_with(
                last_outcomes(
                    self._calls.values(),
                    blocked_seconds=self._async.blocked_seconds if self._is_blocked else None,
                    blocks=blocks,
                    too_long=too_long,
                )
            )

    @property
    def _is_blocked(self) -> bool:
        return self._async.blocked_seconds > STUCK_SECONDS

    @property
    def _loop(self) -> ExchangeLoop:
        if self._exchange is None:
            raise RuntimeError("the work has not begun")
        return self._exchange

    async def _watch(self) -> None:
        while self._calls or self._loop.held:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                self.look()
            except Exception:
                log.exception("the running attempts could not be looked at; trying again")

    def _begin_calls(self) -> None:
        """Begin the calls that are due, and set a timer for the next one."""
        now = self._workplace.now()
        for slots in self._slots.values():
            for claims in slots.take(now, more=self._loop.queued):
                if not self._calls:
                    self._note_surroundings()
                call = self._place(slots.spec).begin(slots.spec, claims, _call_of)
                self._calls[id(call)] = call
                self._began_at[id(call)] = now
                for attempt in call.attempts:
                    key = attempt.claim.task_id, attempt.claim.attempt
                    self._by_key[key] = call, attempt
        waits = [
            seconds
            for slots in self._slots.values()
            if (seconds := slots.wait_seconds(now)) is not None
        ]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if waits:
            self._timer = self._event_loop.call_later(min(waits), self._begin_calls)

    def _notify_ready(self) -> None:
        self._call_soon(self._note_ready)

    def _note_ready(self) -> None:
        self.loaded = True
        self._loaded_memory = peak_memory_bytes()
        self._loop.changed()

    def _notify_end(self, call: HandlerCall) -> None:
        self._ended.append(call)
        if not self._ended_scheduled:
            self._ended_scheduled = True
            self._call_soon(self._collect)

    def _call_soon(self, call: Callable[[], None]) -> None:
        try:
            self._event_loop.call_soon_threadsafe(call)
        except RuntimeError:
            if not self._event_loop.is_closed():
                raise  # a closed loop: the runner is over, and its host ends the process

    def _collect(self) -> None:
        """Report the calls that have ended, and begin what waits for their slots."""
        self._ended_scheduled = False
        now = self._workplace.now()
        outcomes: list[Outcome] = []
        while self._ended:
            call = self._ended.popleft()
            del self._calls[id(call)]
            self._slots[call.spec.task_type].end(self._began_at.pop(id(call)), now)
            for attempt in call.attempts:
                del self._by_key[attempt.claim.task_id, attempt.claim.attempt]
            outcomes += call.outcomes
        self._done += len(outcomes)
        self.lines.pass_on()  # their log lines must come before their outcomes
        self._loop.finished(outcomes)
        if not self._calls:
            self._put_back()
        self._leave_if_used_up()
        self._begin_calls()

    def _leave_if_used_up(self) -> None:
        grown = peak_memory_bytes() - self._loaded_memory
        why = self._workplace.unfit()
        if why is not None and not self._unfit:
            self._unfit = True
            log.warning("this process is of no use any more: %s", why)
            self._event_loop.call_later(LEAVE_SECONDS, end_process, 1)
            self._leave()
        elif self._done >= self._max_tasks or grown > self._max_memory_bytes:
            self._leave()

    def _note_surroundings(self) -> None:
        """Note the state of the process before the first of some attempts begins."""
        if self._workplace.puts_back and not (self._surroundings and self._workplace.own_process):
            self._surroundings = Surroundings()

    def _put_back(self) -> None:
        """Undo what attempts have changed in the process; while others run this cannot be done."""
        if self._surroundings is not None and (changed := self._surroundings.put_back()):
            log.info("put back what attempts have changed: %s", ", ".join(changed))

    def _note_waits(self, now: float) -> None:
        """Note the task that attempts here wait for, after `NOTICE_SECONDS`."""
        awaited = self._awaited(now)
        if awaited is None:
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = now
        is_long = self._waits_since is not None and now - self._waits_since >= NOTICE_SECONDS
        if (awaited if is_long else None) != self._waits_told:
            self._waits_told = awaited if is_long else None
            self._loop.changed()

    def _awaited(self, now: float) -> str | None:
        full = [name for name, slots in self._slots.items() if not slots.free(now)]
        if not full or not self._calls:
            return None
        calls = [
            WaitingCall(
                call.spec.task_type,
                frozenset(attempt.claim.task_id for attempt in call.attempts),
                call.waits.blocked(),
            )
            for call in self._calls.values()
        ]
        return stands_still(calls, full)

    def _leave(self) -> None:
        for slots in self._slots.values():
            self._give_back(slots)
        self._loop.leave()

    def _give_back(self, slots: Slots) -> None:
        taken = slots.take_back()
        self._loop.not_begun(taken, OutcomeKind.RELEASED)

    def _place(self, spec: HandlerSpec) -> AttemptLoop | AttemptThreads:
        return self._async if spec.is_async else self._threads

    def _channel(self, attempt: Attempt) -> WarmChannel:
        return WarmChannel(attempt, self.lines, self._loop, self._event_loop)


def _call_of(spec: HandlerSpec, attempts: Sequence[Attempt]) -> HandlerCall:
    return HandlerCall(spec, attempts) if spec.batch is None else BatchCall(spec, attempts)


def _is_due(call: HandlerCall, step: int) -> bool:
    """Return whether a call is in its handler, and was not interrupted in this step yet."""
    return bool(call.active) and call.interrupted_step != step
