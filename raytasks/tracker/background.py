"""The work that goes on between ticks, in small steps: bulk operations, and moves between lanes."""

import logging
from typing import TYPE_CHECKING

from raytasks.model.bulk_operations import BulkOperation, NewBulk
from raytasks.model.tasks import StoreUnavailable
from raytasks.store.transaction import FenceBroken, Superseded
from raytasks.tracker.access import AWAY, TakenOver
from raytasks.tracker.bulk_turns import Held, make, run_step
from raytasks.tracker.logged_acts import log_acts
from raytasks.tracker.schedule_writes import ScheduleWrites

if TYPE_CHECKING:
    from raytasks.tracker.ticker import Ticker

log = logging.getLogger(__name__)

_LOAD_SECONDS = 8.0


class Background:
    """The steps that are done between ticks, each in a transaction of its own."""

    def __init__(self, ticker: "Ticker") -> None:
        self._ticker = ticker
        self.schedules = ScheduleWrites(ticker)

    @property
    def any(self) -> bool:
        """Whether there may be something to do at once."""
        moves = self._ticker.ledger.claims.moves
        return self._ticker.bulk.any or moves.any or self.schedules.any

    def seconds_until_due(self) -> float:
        """Return the seconds until there is something to do; infinite if there is nothing."""
        moves = self._ticker.ledger.claims.moves
        return min(
            self._ticker.bulk.seconds_until_due(),
            moves.seconds_until_due(),
            self.schedules.seconds_until_due(),
        )

    async def turn(self, *, idle: bool) -> None:
        """Do what is due. With `idle`, a tick would have nothing to do. Raises `Superseded`."""
        if self.schedules.any:
            await self.schedules.turn()
        if self._ticker.ledger.claims.moves.is_due(idle=idle):
            await self._move_lanes()
        if self._ticker.bulk.is_due(idle=idle):
            await self._do_bulk_step()

    async def make_bulk(self, new: NewBulk) -> tuple[BulkOperation, bool]:
        """Store a new bulk operation, and start it. See `raytasks.tracker.bulk_turns.make`."""
        ticker = self._ticker
        if not await ticker.is_loaded(_LOAD_SECONDS):
            raise StoreUnavailable(AWAY)
        epoch = ticker.epoch
        try:
            operation, is_new, acts = await ticker.access.write(
                lambda: make(ticker.store, epoch, ticker.clock(), new)
            )
        except Superseded:
            raise TakenOver() from None
        finally:  # after an error it may still have been stored
            ticker.bulk.look()
            ticker.wake.set()
        log_acts(acts)
        if is_new:
            ticker.journal.bulk_begun(operation)
        return operation, is_new

    async def _move_lanes(self) -> None:
        """Do one step of the moves of waiting tasks to other lanes."""
        ticker = self._ticker
        moves, epoch, now = ticker.ledger.claims.moves, ticker.epoch, ticker.clock()
        step = moves.turn()
        try:
            done = await ticker.access.write(lambda: ticker.store.relane_step(epoch, now, step))
        except Superseded:
            raise
        except StoreUnavailable as error:
            moves.failed()
            await ticker.recovery.sit_out(error)
        except Exception as error:
            moves.failed()
            name = step.task_type
            log.exception("tasks of %s cannot be moved to their lanes; trying again", name)
            if isinstance(error, FenceBroken | AssertionError):
                await ticker.reload()
        else:
            ticker.access.recovered()
            ticker.ledger.claims.note_moved(step, done)
            ticker.wake.set()

    async def _do_bulk_step(self) -> None:
        """Do one step of a bulk operation, in a transaction of its own."""
        ticker = self._ticker
        epoch, now, last = ticker.epoch, ticker.clock(), ticker.bulk.last
        turn = ticker.bulk.turn()
        turn.renewals = ticker.claims.moves.renewals
        try:
            done = await ticker.access.write(lambda: run_step(ticker.store, epoch, now, last, turn))
        except Held:
            ticker.access.recovered(proven=False)
            ticker.bulk.hold(turn)
        except Superseded:
            raise
        except StoreUnavailable as error:
            ticker.bulk.failed(turn, error)
            await ticker.recovery.sit_out(error)
        except Exception as error:
            ticker.bulk.failed(turn, error)
            log.exception("a bulk operation cannot go on; trying again")
            if isinstance(error, FenceBroken | AssertionError):
                await ticker.reload()
        else:
            ticker.access.recovered()
            ticker.bulk.done(done, turn)
            if done is not None:
                ticker.ledger.note_step(done)
                if done.is_last:
                    ticker.journal.bulk_done(done.operation, done.operation.changed + done.changed)
                ticker.wake.set()  # tasks that became due by it are not claimed yet
