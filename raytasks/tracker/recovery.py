"""Recovery from failed ticks: find the cause, answer the callers, and choose the next try.

Either the database is away, or it refuses one command. During an outage, ticks are retried with a
growing pause. A command that is refused by itself is set aside, so that it blocks no other.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from raytasks.model.tasks import RaytasksError, StoreUnavailable
from raytasks.store.refusals import error_name, traceback_of
from raytasks.store.transaction import FenceBroken, Superseded
from raytasks.tracker.access import AWAY, StoreAccess, TakenOver
from raytasks.tracker.aside import Aside
from raytasks.tracker.awaited_commands import RowRefused
from raytasks.tracker.inbox import Inbox
from raytasks.tracker.ledger import Ledger
from raytasks.tracker.lock_care import LockCare
from raytasks.tracker.tick import TickInput, TickResult

log = logging.getLogger(__name__)

MAX_FAILURES = 3
"""Number of failures of the same tick, with cheap writes that succeed in between, after which its
commands are tried in parts."""

MAX_CULPRITS = 8
"""Maximum number of commands of one tick that are set aside when the error does not name a
command."""

MAX_LOCKED = 3
"""Maximum number of commands of one tick that are refused for a lock while none can be stored."""

LOCKED = "another session of the database has locked what this needs; try again soon"

STATISTICS = "statistics"
SCHEDULES = "schedules"
DUE_TASKS = "tasks that have become due"
EXPIRED_TASKS = "tasks that have expired"
_CLAIMS = "claims of "


class Memory(Protocol):
    """The tracker's memory, which recovery can read again from the database."""

    wake: asyncio.Event
    ledger: Ledger

    @property
    def monotonic(self) -> Callable[[], float]:
        """The clock that measures durations."""

    async def reload(self) -> None:
        """Read everything again from the database."""

    async def renew(self) -> None:
        """Make one cheap write. Raises `StoreUnavailable`, `Superseded`."""


@dataclass
class _Round:
    """One round over the commands of a failed tick, in parts."""

    stored: bool = False
    locked: int = 0
    failed: list[tuple[Inbox, Exception]] = field(default_factory=list)


class Recovery:
    """The recovery of one tracker's failed ticks, with its memory of earlier failures.

    All methods belong to the tracker's event loop.
    """

    def __init__(self, inbox: Inbox, access: StoreAccess, memory: Memory) -> None:
        self._inbox = inbox
        self._access = access
        self._memory = memory
        self._monotonic = memory.monotonic
        self.aside = Aside(memory.monotonic)
        self.care = LockCare(memory.monotonic)
        self._failures = 0  # in a row; a cheap write in between does not reset it
        self._waiting = False  # commands wait that could not be stored
        self._fence_broken = False
        self._round: _Round | None = None
        self._parts_suspected = False
        self._parts: deque[str] = deque()  # parts of a tick, to be tried without commands
        self._part: str | None = None
        self._bare = False  # whether the present tick has no commands on purpose

    # Before a tick

    def take(self) -> Inbox:
        """Return the commands for the next tick, and choose its other parts."""
        self._part, self._bare = None, False
        if self._round is not None and not self._inbox.suspects:
            self._end_round()
        probe = self.aside.due()
        if probe is not None:
            self._memory.ledger.drop_over(probe)
            return probe
        if not self._inbox.suspects and self._parts_suspected:
            self._part = self._parts.popleft() if self._parts else None
            self._bare = True
            return Inbox()
        self._part = self.aside.due_part()
        if self._part is not None:
            return Inbox()
        taken = self._inbox.take()
        if self._parts_suspected:  # commands alone, until the cause is clear
            taken.alone = True
        return taken

    def is_careful(self, taken: Inbox) -> bool:
        """Return whether the next tick waits only briefly for locks of others."""
        return self.care.is_taken or taken.alone or self._bare or self._part is not None

    def takes_part(self, part: str) -> bool:
        """Return whether a part other than commands goes into the next tick."""
        if self._part is not None:
            return part == self._part
        return not self.aside.is_barred(part)

    def takes_claims(self, task_type: str) -> bool:
        """Return whether the next tick claims tasks of a type."""
        return self.takes_part(_CLAIMS + task_type)

    def bars_claims(self, task_type: str) -> bool:
        """Return whether the database has refused the claims of a type."""
        return self.aside.is_barred(_CLAIMS + task_type)

    @property
    def busy(self) -> bool:
        """Whether there is something to retry at once."""
        return self._parts_suspected or self.seconds_until_due() <= 0

    def had_nothing_to_do(self) -> None:
        """Record that the tick after the last `take` was not needed."""
        if self._part is not None:
            self.aside.postpone(self._part)
        if self._bare:
            self._parts_suspected = bool(self._parts)

    def seconds_until_due(self) -> float:
        """Return the seconds until something set aside is retried; infinite if nothing was."""
        return self.aside.due_at() - self._monotonic()

    # After a tick

    def succeeded(self, taken: Inbox, work: TickInput, done: TickResult) -> bool:
        """Record that a tick was committed. Returns whether that ends an outage.

        It does not while commands wait that could not be stored. The database may accept some
        writes and refuse others, e.g. when its disk is nearly full.
        """
        self.care.note(work, done)
        if self._round is not None and taken.count:
            self._round.stored = True
        if taken.probe:
            again = self.aside.stored()
            if again.count:
                self._inbox.isolate(again)
                self._memory.wake.set()
        elif self._part is not None:
            self.aside.admit(self._part)
        elif not taken.alone:
            self._failures = 0
            self._fence_broken = False
            self._waiting = self._waiting and self._bare
        if self._bare:
            self._parts_suspected = bool(self._parts)
        return not self._waiting or (taken.alone and taken.count > 0 and not taken.probe)

    async def failed(self, taken: Inbox, work: TickInput, error: Exception) -> None:
        """Deal with a tick that failed. Raises `Superseded`."""
        match error:
            case Superseded():
                taken.fail(TakenOver())
                raise error
            case StoreUnavailable():
                await self._sit_out(taken, work, error)
            case FenceBroken() | AssertionError() if not (taken.alone or self._fence_broken):
                log.error("memory and database differ; reading them again", exc_info=error)
                self._fence_broken = True
                self._inbox.put_back(taken)
                await self._access.pause()
                await self._memory.reload()
            case _:
                await self._refuse(taken, work, error)
        self._memory.wake.set()

    async def sit_out(self, error: StoreUnavailable) -> None:
        """Wait until a write succeeds; then reload if a commit is in doubt."""
        await self._access.sit_out(error)
        await self.settle_doubt(error)

    async def settle_doubt(self, error: StoreUnavailable) -> bool:
        """Repeat a cheap write until it succeeds; then reload if a commit is in doubt.

        Returns whether it succeeded at once: then the database is there.
        """
        tries = 0
        while True:
            tries += 1
            try:
                await self._memory.renew()
                break
            except Superseded:
                self._inbox.refuse(TakenOver())
                raise
            except StoreUnavailable as still:
                error.in_doubt = error.in_doubt or still.in_doubt
                await self._access.sit_out(still)
            except Exception as other:
                log.exception("the epoch cannot be renewed")
                await self._access.sit_out(StoreUnavailable(repr(other)))
        # Not earlier: only now is no transaction of ours open any more. See `Store.renew`.
        if error.in_doubt:
            await self._memory.reload()
        return tries == 1

    async def _sit_out(self, taken: Inbox, work: TickInput, error: StoreUnavailable) -> None:
        if taken.trial:
            is_there = await self.settle_doubt(error)
            taken.fail(RowRefused(error, doubtful=True) if is_there else StoreUnavailable(AWAY))
            return
        if taken.probe:
            # A refused command that fails again proves little: other commands wait only if a cheap
            # write fails too.
            self.aside.again(taken, error)
            await self.settle_doubt(error)
            return
        if error.is_locked and await self.settle_doubt(error):
            await self._pass_lock(taken, work, error)
            return
        if taken.alone:
            taken.refuse(StoreUnavailable(AWAY))
            if taken.count and not self._inbox.try_again(taken):
                self._failed_in_round(taken, error)
        else:
            self._inbox.put_back(taken)
        self._waiting = self._waiting or self._inbox.count > 0 or self._round is not None
        await self.sit_out(error)
        if taken.alone:
            return
        if self._part is not None or self._parts_suspected:
            self._bar_parts(work, error)
            return
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            self._failures = 0
            self._try_in_parts(error)

    async def _pass_lock(self, taken: Inbox, work: TickInput, error: StoreUnavailable) -> None:
        """Find what needs a lock that others hold. Nobody else is refused: the database is there.

        If nothing at all can be stored, the lock is as good as an outage.
        """
        if taken.alone:
            if not taken.is_about_one:
                self._failed_in_round(taken, error)
                return
            self._round = round_ = self._round or _Round()
            round_.locked += 1
            taken.refuse(StoreUnavailable(LOCKED))
            if taken.count:
                self._failed_in_round(taken, error)
            is_last = not self._inbox.suspects or round_.locked > MAX_LOCKED
            if is_last and not round_.stored:
                self._inbox.put_back_suspects()
                await self.sit_out(error)
        elif self._part is not None or self._bare:
            self._bar_parts(work, error)
        else:
            self._inbox.put_back(taken)
            if self.care.is_taken:
                self._try_in_parts(error)
            self.care.begin()

    def _try_in_parts(self, error: Exception) -> None:
        """Try the commands of a tick that failed too often in halves, then its other parts."""
        self._inbox.put_back_suspects()
        taken = self._inbox.take()
        if taken.count:
            self._round = _Round()
            self._inbox.isolate(taken, error)
        self._parts_suspected = True

    def _failed_in_round(self, taken: Inbox, error: Exception) -> None:
        """Record that the database was away for a part of the commands: one may be the cause."""
        if self._round is None:
            self._round = _Round()
        if not taken.is_about_one:
            self._inbox.isolate(taken, error)
            return
        self._round.failed.append((taken, error))
        most = MAX_CULPRITS if self._round.stored else 1
        if len(self._round.failed) > most:
            # So many commands cannot all be at fault: the cause is the database, whatever it says.
            self._round.stored = False
            self._inbox.put_back_suspects()
            self._parts_suspected = False
            self._end_round()

    def _end_round(self) -> None:
        round_, self._round = self._round, None
        assert round_ is not None
        self._waiting = self._waiting and not round_.stored
        for group, error in reversed(round_.failed):
            if round_.stored:
                self._set_aside(group, error)
            else:
                self._inbox.put_back(group)

    async def _refuse(self, taken: Inbox, work: TickInput, error: Exception) -> None:
        """Deal with a tick of which the database, though available, refuses something."""
        if taken.probe and taken.count > 1:
            self.aside.give_back()
            self._inbox.isolate(taken, error)
        elif taken.probe:
            self.aside.again(taken, error)
        elif taken.count > 1 or (taken.count and not taken.alone):
            self._inbox.isolate(taken, error)
            self._parts_suspected = self._parts_suspected or not taken.alone
        elif taken.count:
            self._set_aside(taken, error)
        elif not self._bar_parts(work, error):
            # The tick only renewed the epoch.
            await self.sit_out(StoreUnavailable(f"{type(error).__name__}: {error}"))

    def _set_aside(self, taken: Inbox, error: Exception) -> None:
        if taken.handings:  # its reader goes on with it
            taken.fail(RowRefused(error))
            return
        name = taken.names()[-1]
        log.error("%s cannot be stored: %s", name, error_name(error), exc_info=traceback_of(error))
        taken.fail(RaytasksError(f"cannot be stored: {type(error).__name__}"))
        self.aside.add(taken, error)

    def _bar_parts(self, work: TickInput, error: Exception) -> bool:
        """Find the part that makes a tick without commands fail, and leave it out.

        Returns whether there is such a part.
        """
        if self._part is not None:
            text, shown = "%s fail; they are left out for now: %s", traceback_of(error)
            log.error(text, self._part, error_name(error), exc_info=shown)
            self.aside.bar(self._part, error)
            self._parts_suspected = bool(self._parts)
            return True
        if not self._parts:
            types = set() if work.plan is None else work.plan.task_types
            self._parts = deque(sorted(_CLAIMS + name for name in types))
            if work.stats is not None:
                self._parts.append(STATISTICS)
            if work.firings:
                self._parts.append(SCHEDULES)
            if work.promote:
                self._parts.append(DUE_TASKS)
            if work.expire:
                self._parts.append(EXPIRED_TASKS)
        self._parts_suspected = bool(self._parts)
        return self._parts_suspected
