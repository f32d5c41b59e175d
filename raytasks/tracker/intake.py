"""The bound on runners' news in memory: what exceeds it stays with the runners for later.

While no write succeeds, outcomes gather here, so their memory needs a bound. A runner keeps every
outcome until it is acknowledged, so an outcome that is not taken is not lost. Runners send it again
only when they are asked to, so nothing is repeated meanwhile.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from msgspec.structs import replace

from raytasks.model.states import CRASHES
from raytasks.model.tasks import Running
from raytasks.protocol.messages import Exchange
from raytasks.tracker.aside import Aside
from raytasks.tracker.fleet import Fleet, RunnerState
from raytasks.tracker.inbox import Inbox
from raytasks.tracker.keyed import log_size, outcome_size, report_size

MAX_BYTES = 8_000_000
"""Maximum bytes of runners' news that wait for their commit or are being committed. The tracker's
memory grows by about three times as much."""


_REMEMBERED = 20_000
_QUIET_SECONDS = 0.05


@dataclass
class _Owed:
    """The news not taken from a runner: their bytes, and when the last of them came."""

    at: float = 0.0
    bytes: int = 0


class Intake:
    """The intake of runners' news into the inbox, as long as there is room.

    `in_flight` is the number of bytes being written to the database.
    """

    def __init__(self, inbox: Inbox, fleet: Fleet, aside: Aside) -> None:
        self._inbox = inbox
        self._aside = aside
        self._fleet = fleet
        self._owing: dict[str, _Owed] = {}  # by runner, oldest first
        self._refused = 0  # total bytes
        self._inviting: asyncio.TimerHandle | None = None
        self._stored: dict[str, int] = {}  # the newest outcomes: the attempt, by task id
        self.in_flight = 0

    def take(self, runner: RunnerState, exchange: Exchange) -> bool:
        """Put a runner's news into the inbox, and return whether there were any."""
        inbox = self._inbox
        before = inbox.count
        is_known = runner.runner_id in self._fleet.runners
        if exchange.held is not None and is_known:  # it sends again what is not acknowledged
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
        """Take in progress and checkpoints; return whether all of them were taken."""
        complete = True
        for report in exchange.reports:
            if not runner.holds(report.task_id, report.attempt):
                if report.checkpoint is not None:
                    runner.stale.append((report.task_id, report.attempt))
                elif report.is_acknowledged:  # over: nobody asks for it any more
                    runner.acknowledged_reports.append(report.number)
            elif self._fits(report_size(report)):
                self._inbox.reports.append((runner.runner_id, report))
            else:
                self._refused += report_size(report)
                complete = False
        return complete

    def _take_logs(self, runner: RunnerState, exchange: Exchange) -> bool:
        """Take in log lines; return whether all of them were taken."""
        complete = True
        for log in exchange.logs:
            if not runner.holds(log.task_id, log.attempt):  # over: nobody asks for them any more
                runner.acknowledged_logs.append(log.number)
            elif self._fits(log_size(log)):
                self._inbox.logs.append((runner.runner_id, log))
            else:
                self._refused += log_size(log)
                complete = False
        return complete

    def _take_outcomes(self, runner: RunnerState, exchange: Exchange, *, complete: bool) -> bool:
        """Take in outcomes if all news before them were taken; return whether all outcomes were."""
        for outcome in exchange.outcomes:
            key = (outcome.task_id, outcome.attempt)
            running = runner.find(*key)
            if running is None:  # settled before, or no longer this runner's
                if outcome.kind in CRASHES or self._stored.get(key[0]) == key[1]:
                    # Not the runner's own news, or a repetition: acknowledge it.
                    runner.acknowledged.append(key)
                else:  # acknowledged once kept: its end may not be stored yet
                    late = replace(outcome, result=None, result_ref=None, error=None)
                    self._inbox.late.append((runner.runner_id, late))
            elif self._aside.has_outcome(*key) or self._is_suspect(key):
                pass  # refused by the database, or tried again; acknowledged once stored
            elif self._inbox.outcomes.has(key) or (complete and self._fits(outcome_size(outcome))):
                self._inbox.outcomes.append((running, outcome))
            else:
                self._refused += outcome_size(outcome)
                complete = False
        return complete

    def _is_suspect(self, key: tuple[str, int]) -> bool:
        return any(group.outcomes.has(key) for group in self._inbox.suspects)

    def _fits(self, size: int) -> bool:
        """Return whether there is room; an item larger than all the room is taken alone."""
        taken = self._inbox.bytes + self.in_flight
        return taken + size <= MAX_BYTES or not taken

    def note_stored(self, taken: Inbox) -> None:
        """Remember committed outcomes, so that a repetition is no news."""
        for _, outcome in taken.outcomes:
            if outcome.kind not in CRASHES:  # the runner of a lost attempt may report another end
                self._stored[outcome.task_id] = outcome.attempt
        if len(self._stored) > 2 * _REMEMBERED:  # half at once: each end costs the same
            self._stored = dict(islice(self._stored.items(), _REMEMBERED, None))

    def invite(self) -> None:
        """Ask runners for the news not taken from them, as many runners as there is room for.

        Each is asked after it has been quiet for a moment.
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
        """Send acknowledgements to runners at once: they have waited for the database."""
        for runner in self._fleet:
            runner.eager = True

    def _reported(self) -> Iterator[Running]:
        """Return the attempts whose outcomes wait for their commit."""
        return (running for group in self._inbox.groups() for running, _ in group.outcomes)
