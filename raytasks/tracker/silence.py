"""What becomes of runners that were not heard of until their lease ended."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from raytasks.model.states import LossCause
from raytasks.tracker.fleet import RunnerState

log = logging.getLogger(__name__)

_REASON = "its runner was not heard of until its lease ended"


class Silence:
    """Gives up silent runners, once it is known whether their nodes are to blame.

    `mark_lost` takes each out of the fleet (see `Ticker.mark_lost`). Then `replace` gets its name.
    `node_died` says whether a node (Ray's id) is gone or frozen; without it nobody knows, and no
    node is. It must answer within seconds.
    """

    def __init__(self, mark_lost: Callable[..., None], replace: Callable[[str], None]) -> None:
        self._mark_lost = mark_lost
        self._replace = replace
        self._looks: dict[str, asyncio.Task[None]] = {}
        self.node_died: Callable[[str | None], Awaitable[bool]] | None = None

    def record(self, runner: RunnerState) -> None:
        """Note that the lease of a runner has ended. Safe to repeat."""
        if runner.runner_id in self._looks:
            return
        log.warning("runner %s was not heard of; its lease has ended", runner.runner_id)
        if self.node_died is None:
            self._give_up(runner, _REASON, LossCause.PROCESS)
            return
        look = asyncio.ensure_future(self._look(runner, self.node_died))
        self._looks[runner.runner_id] = look
        look.add_done_callback(lambda _: self._looks.pop(runner.runner_id, None))

    async def _look(
        self, runner: RunnerState, node_died: Callable[[str | None], Awaitable[bool]]
    ) -> None:
        seen_at = runner.seen_at
        try:
            gone = await node_died(runner.node_id)
        except Exception:
            log.exception("whether the node of %s has died cannot be had", runner.runner_id)
            gone = False
        if runner.seen_at > seen_at:
            return  # it was heard of meanwhile
        if gone:
            self._give_up(runner, f"{_REASON}: its node is gone", LossCause.OUTSIDE)
        else:
            self._give_up(runner, _REASON, LossCause.PROCESS)

    def _give_up(self, runner: RunnerState, reason: str, cause: LossCause) -> None:
        self._mark_lost(runner.runner_id, reason, cause=cause)
        self._replace(runner.name)
