"""The writes of what people set: limits, pools, namespaces, pauses. Each is a transaction."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from msgspec.structs import asdict

from raytasks.model.acts import ActionName, NewAudit
from raytasks.model.steering import (
    LimitSetting,
    NamespaceSetting,
    Pause,
    PoolSetting,
    Removal,
    Setting,
    Steering,
    SteeringChange,
    key_of,
)
from raytasks.model.tasks import StoreUnavailable
from raytasks.protocol.commands import (
    ClearLimit,
    ClearNamespace,
    ClearPool,
    PauseWork,
    ResumeWork,
    SetLimit,
    SetNamespace,
    SetPool,
    SteeringCommand,
)
from raytasks.store.transaction import Superseded
from raytasks.tracker.access import AWAY, TakenOver
from raytasks.tracker.logged_acts import log_acts
from raytasks.tracker.ticker import Ticker

_LOAD_SECONDS = 8.0
_TURN_SECONDS = 8.0  # how long a command waits for those before it


@dataclass(frozen=True)
class SteeringPlan:
    """The result of a command: its answer, and the change with its act; None if it changes nothing.

    The answer holds when the change is on disk.
    """

    answer: Any
    change: SteeringChange | None = None
    act: NewAudit | None = None


def planned(command: SteeringCommand, known: Steering, now: float) -> SteeringPlan:
    """Return what a command changes in what is set now. It is a pure function."""
    by = command.by
    match command:
        case SetLimit():
            rated = command.rate is not None
            limit = LimitSetting(
                command.name,
                command.running,
                command.rate,
                command.per_seconds if rated else 1.0,  # without a rate it means nothing
                command.burst if rated else None,
                changed_at=now,
                by=by,
            )
            return _setting(known, limit, ActionName.SET_LIMIT)
        case ClearLimit():
            return _clearing(known, LimitSetting, command.name, by, ActionName.CLEAR_LIMIT)
        case SetPool():
            sizes = PoolSetting(command.name, command.least, command.most, changed_at=now, by=by)
            return _setting(known, sizes, ActionName.SET_POOL)
        case ClearPool():
            return _clearing(known, PoolSetting, command.name, by, ActionName.CLEAR_POOL)
        case SetNamespace():
            share = NamespaceSetting(
                command.namespace, command.weight, command.max_backlog, changed_at=now, by=by
            )
            return _setting(known, share, ActionName.SET_NAMESPACE)
        case ClearNamespace():
            name, action = command.namespace, ActionName.CLEAR_NAMESPACE
            return _clearing(known, NamespaceSetting, name, by, action)
        case PauseWork():
            return _pausing(known, command, now)
        case ResumeWork():
            return _resuming(known, command, now)
        case _:
            assert_never(command)


class SteeringWrites:
    """Executes the commands that change what people set, one after the other.

    Memory has a setting as soon as it is on disk: the next tick goes by it.
    """

    def __init__(self, ticker: Ticker) -> None:
        self._ticker = ticker
        self._turn = asyncio.Lock()

    async def execute(self, command: SteeringCommand) -> Any:
        """Execute a command, and return its answer. Raises `StoreUnavailable`.

        It waits for the tick that is on its way, which may be claiming by what was set before.
        """
        ticker = self._ticker
        if not await ticker.is_loaded(_LOAD_SECONDS):
            raise StoreUnavailable(AWAY)
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            raise StoreUnavailable(AWAY) from None
        try:
            await ticker.wait_for_tick()
            now = ticker.clock()
            plan = planned(command, ticker.steering, now)
            if plan.change is not None:
                await self._write(plan, now)
        finally:
            self._turn.release()
        await ticker.wait_for_tick()
        ticker.wake.set()
        return plan.answer

    async def _write(self, plan: SteeringPlan, now: float) -> None:
        ticker = self._ticker
        epoch, store = ticker.epoch, ticker.store
        changes = [] if plan.change is None else [plan.change]
        acts = [] if plan.act is None else [plan.act]
        try:
            entries = await ticker.access.write(lambda: store.steer(epoch, changes, acts, now))
        except Superseded:
            raise TakenOver() from None
        except StoreUnavailable as error:
            # It may be on disk nevertheless; memory and disk must not differ.
            if error.in_doubt:
                ticker.doubt(error)
            raise
        log_acts(entries)
        ticker.steering = ticker.steering.changed(changes, now)


def _setting(known: Steering, wanted: Setting, action: ActionName) -> SteeringPlan:
    """SteeringPlan to set something by its name. A command that is repeated changes nothing."""
    key, details = key_of(wanted), _details(wanted)
    present = known.find(type(wanted), key)
    if present is not None and _details(present) == details:
        return SteeringPlan(present)
    of_namespace = isinstance(wanted, NamespaceSetting)
    act = NewAudit(
        wanted.by,
        action,
        namespace=key if of_namespace else None,
        target=None if of_namespace else key,
        details=details,
    )
    return SteeringPlan(wanted, wanted, act)


def _clearing(
    known: Steering, kind: type[Setting], name: str, by: str, action: ActionName
) -> SteeringPlan:
    if known.find(kind, name) is None:
        return SteeringPlan(answer=False)
    of_namespace = kind is NamespaceSetting
    act = NewAudit(
        by,
        action,
        namespace=name if of_namespace else None,
        target=None if of_namespace else name,
    )
    return SteeringPlan(True, Removal(kind, name), act)


def _pausing(known: Steering, command: PauseWork, now: float) -> SteeringPlan:
    key = (command.namespace, command.task_type)
    present = known.pauses.get(key)
    if present is not None and not present.holds(now):
        present = None
    until = None if command.seconds is None else now + command.seconds
    lasts = present is not None and present.until is None and until is None
    if present is not None and lasts and (command.drain or not present.drain):
        return SteeringPlan(present)
    since = now if present is None else present.since
    pause = Pause(*key, since=since, until=until, by=command.by, drain=command.drain)
    details = {"until": until, "drain": command.drain}
    return SteeringPlan(pause, pause, _of_pause(ActionName.PAUSE, key, command.by, details))


def _resuming(known: Steering, command: ResumeWork, now: float) -> SteeringPlan:
    key = (command.namespace, command.task_type)
    present = known.pauses.get(key)
    if present is None or not present.holds(now) or (command.only_drain and not present.drain):
        return SteeringPlan(None)
    act = _of_pause(ActionName.RESUME, key, command.by)
    return SteeringPlan(present, Removal(Pause, key), act)


def _of_pause(
    action: ActionName, key: tuple[str, str], by: str, details: Mapping[str, Any] | None = None
) -> NewAudit:
    namespace, task_type = key
    return NewAudit(by, action, namespace or None, task_type or None, details)


def _details(setting: Setting) -> dict[str, Any]:
    """Return what a person has set, without who and when."""
    left_out = ("name", "namespace", "changed_at", "by")
    return {name: value for name, value in asdict(setting).items() if name not in left_out}
