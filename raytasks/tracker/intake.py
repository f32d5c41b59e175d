"""How much of what runners say is taken at a time: they keep the rest, and are asked for it later.

While no write succeeds, outcomes gather here, and the memory for them has a bound. A runner keeps
every outcome until it is acknowledged; so what is not taken is not lost. Nothing is repeated
meanwhile, as nobody is asked for it.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from raytasks.model.states import CRASHES
from raytasks.model.tasks import Running
from raytasks.protocol.messages import Exchange
from raytasks.tracker.aside import Aside
from raytasks.tracker.fleet import Fleet, RunnerState
from raytasks.tracker.inbox import Inbox
from raytasks.tracker.keyed import log_size, outcome_size, report_size

MAX_BYTES = 8_000_000
"""How much of what runners have said may wait for its commit, or be on its way to it. The tracker's
memory grows by some three times as much."""


_REMEMBERED = 20_000
_QUIET_SECONDS = 0.05


@dataclass
class _Owed:
    """What was not taken from a runner: how many bytes, and when the last of it was said."""

    at: float = 0.0
    bytes: int = 0


class Intake:
    """Takes what runners say into the inbox, as long as there is room.

    `in_flight` is how many bytes are on their way to the database just now.
    """

    def __init__(self, inbox: Inbox, fleet: Fleet, aside: Aside) -> None:
        self._inbox = inbox
        self._aside = aside
        self._fleet = fleet
        self._owing: dict[str, _Owed] = {}  # by runner, the first one first
        self._refused = 0  # bytes, ever
        self._inviting: asyncio.TimerHandle | None = None
        self._stored: dict[tuple[str, int], None] = {}  # outcomes, the newest of them
        self.in_flight = 0

    def take(self, runner: RunnerState, exchange: Exchange) -> bool:
        """Put a runner's news into the inbox, and return whether there were any."""
        inbox = self._inbox
        before = inbox.count
        is_known = runner.runner_id in self._fleet.runners
        if exchange.held is not None and is_known:  # it says all again that was not acknowledged
            runner.eager = True
            self._owing.pop(runner.runner_id, None)
            inbox.forget_unsaid(runner.runner_id)
            self._aside.forget_unsaid(runner.runner_id)
        refused = self._refused
        complete = self._take_reports(runner, exchange) and self._take_logs(runner, exchange)
        # Outcomes do not overtake the log lines that go with them.
        if not self._take_outcomes(runner, exchange, complete=complete):
            owed = self._owing.setdefault(runner.runner_id, _Owed())
            owed.at = asyncio.get_running_loop().time()
            owed.bytes += self._refused - refused
        if runner.eager and not (exchange.outcomes or exchange.held is not None or self.in_flight):
            waits = any(item.runner_id == runner.runner_id for item in self._reported())
            runner.eager = waits or bool(runner.acknowledged)
        return inbox.count > before

    def _take_reports(self, runner: RunnerState, exchange: Exchange) -> bool:
        """Take progress and checkpoints; return whether all of them were taken."""
        complete = True
        for report in exchange.reports:
            if not runner.holds(report.task_id, report.attempt):
                if report.checkpoint is not None:
                    runner.stale.append((report.task_id, report.attempt))
                elif report.is_acknowledged:  # over: nobody requests to know any more
                    runner.acknowledged_reports.append(report.number)
            elif self._fits(report_size(report)):
                self._inbox.reports.append((runner.runner_id, report))
            else:
                self._refused += report_size(report)
                complete = False
        return complete

    def _take_logs(self, runner: RunnerState, exchange: Exchange) -> bool:
        """Take log lines; return whether all of them were taken."""
        complete = True
        for log in exchange.logs:
            if not runner.holds(log.task_id, log.attempt):  # over: nobody requests them any more
                runner.acknowledged_logs.append(log.number)
            elif self._fits(log_size(log)):
                self._inbox.logs.append((runner.runner_id, log))
            else:
                self._refused += log_size(log)
                complete = False
        return complete

    def _take_outcomes(self, runner: RunnerState, exchange: Exchange, *, complete: bool) -> bool:
        """Take outcomes, if all before them was taken; return whether all of them were."""
        for outcome in exchange.outcomes:
            key = (outcome.task_id, outcome.attempt)
            running = runner.find(*key)
            if running is None:  # settled before, or no longer this runner's
                if outcome.kind in CRASHES or key in self._stored:
                    # Not its own news, or what it says once more: done with.
                    runner.acknowledged.append(key)
                else:  # acknowledged when it is kept: that it is over may not be stored yet
                    late = replace(outcome, result=None, result_ref=None, error=None)
                    self._inbox.late.append((runner.runner_id, late))
            elif self._aside.has_outcome(*key):
                pass  # it is refused; it is acknowledged when it can be stored
            elif self._inbox.outcomes.has(key) or (complete and self._fits(outcome_size(outcome))):
                self._inbox.outcomes.append((running, outcome))
            else:
                self._refused += outcome_size(outcome)
                complete = False
        return complete

    def _fits(self, size: int) -> bool:
        """Return whether there is room; what is larger than all the room is taken alone."""
        taken = self._inbox.bytes + self.in_flight
        return taken + size <= MAX_BYTES or not taken

    def note_stored(self, taken: Inbox) -> None:
        """Note what was committed: it may be said once more, and is no news then."""
        for _, outcome in taken.outcomes:
            if outcome.kind not in CRASHES:  # whose runner may have other news of it
                self._stored[outcome.task_id, outcome.attempt] = None
        while len(self._stored) > _REMEMBERED:
            del self._stored[next(iter(self._stored))]

    def invite(self) -> None:
        """Ask runners for what was not taken from them, as many as there is room for now.

        Each is asked when it has said all that it was about to say.
        """
        if self._inviting is not None:
            self._inviting.cancel()
            self._inviting = None
        room = MAX_BYTES - self._inbox.bytes - self.in_flight
        loop = asyncio.get_running_loop()
        for runner_id, owed in list(self._owing.items()):
            runner = self._fleet.runners.get(runner_id)
            if runner is None:
                del self._owing[runner_id]
            elif room > 0 and loop.time() - owed.at >= _QUIET_SECONDS:
                room -= owed.bytes
                del self._owing[runner_id]
                runner.ask_again()
        if self._owing and room > 0:
            self._inviting = loop.call_later(_QUIET_SECONDS, self.invite)

    def hurry(self) -> None:
        """Have runners told at once of what is on disk: they have waited for the database."""
        for runner in self._fleet:
            runner.eager = True

    def _reported(self) -> Iterator[Running]:
        """Return the attempts whose outcomes wait for their commit."""
        return (running for group in self._inbox.groups() for running, _ in group.outcomes)
