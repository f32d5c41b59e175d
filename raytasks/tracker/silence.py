"""The end of silent runners: those that sent no heartbeat until their lease ended."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from raytasks.model.states import LossCause
from raytasks.observe.log_record import with_fields
from raytasks.tracker.fleet import RunnerState

log = logging.getLogger(__name__)

_REASON = "its runner was not heard of until its lease ended"
_GONE = "its cluster, which another one has followed, was not heard of until its lease ended"


class Silence:
    """The watch over silent runners: it gives them up once it knows whether their nodes died.

    It removes a runner from the fleet with `mark_lost`, then passes its name to `replace`. The
    check `node_died` returns whether a node (Ray's id) is gone or frozen; it must answer within
    seconds. Without it, no node counts as dead.
    """

    def __init__(self, mark_lost: Callable[..., None], replace: Callable[[str], None]) -> None:
        self._mark_lost = mark_lost
        self._replace = replace
        self._looks: dict[str, asyncio.Task[None]] = {}
        self.node_died: Callable[[str | None], Awaitable[bool]] | None = None
        self.is_cut_off: Callable[[RunnerState], bool] = lambda _: False
        """Returns whether the runner is of an earlier cluster that is silent as a whole."""

    def record(self, runner: RunnerState) -> None:
        """Record that the lease of a runner has ended. Safe to repeat."""
        if runner.runner_id in self._looks:
            return
        log.warning(
            "runner %s was not heard of; its lease has ended",
            runner.name or runner.runner_id,
            extra=with_fields(runner=runner.name or runner.runner_id, pool=runner.pool or None),
        )
        if self.is_cut_off(runner):
            self._give_up(runner, _GONE, LossCause.OUTSIDE)
            return
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
            return  # it has sent a heartbeat meanwhile
        if gone:
            self._give_up(runner, f"{_REASON}: its node is gone", LossCause.OUTSIDE)
        else:
            self._give_up(runner, _REASON, LossCause.PROCESS)

    def _give_up(self, runner: RunnerState, reason: str, cause: LossCause) -> None:
        self._mark_lost(runner.runner_id, reason, cause=cause)
        self._replace(runner.name)
