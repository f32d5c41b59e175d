"""How much of what runners say is taken at a time: they keep the rest, and are asked for it later.

While no write succeeds, outcomes gather here, and the memory for them has a bound. A runner keeps
every outcome until it is acknowledged; so what is not taken is not lost. Nothing is repeated
meanwhile, as nobody is asked for it.
"""

from raytasks.messages import Exchange
from raytasks.states import CRASHES
from raytasks.tracker.aside import Aside
from raytasks.tracker.fleet import Fleet, RunnerState
from raytasks.tracker.inbox import Inbox
from raytasks.tracker.keyed import log_size, outcome_size, report_size

MAX_BYTES = 16_000_000
"""How much of what runners have said may wait for its commit, or be on its way to it."""


class Intake:
    """Takes what runners say into the inbox, as long as there is room.

    `in_flight` is how many bytes are on their way to the database just now.
    """

    def __init__(self, inbox: Inbox, fleet: Fleet, aside: Aside) -> None:
        self._inbox = inbox
        self._aside = aside
        self._fleet = fleet
        self._owing: dict[str, None] = {}  # runners that have more to say, the first one first
        self.in_flight = 0

    def take(self, runner: RunnerState, exchange: Exchange) -> bool:
        """Put a runner's news into the inbox, and return whether there were any."""
        inbox = self._inbox
        before = inbox.count
        if exchange.held is not None:  # it says all again that was not acknowledged
            self._owing.pop(runner.runner_id, None)
            inbox.forget_unsaid(runner.runner_id)
            self._aside.forget_unsaid(runner.runner_id)
        complete = self._take_reports(runner, exchange) and self._take_logs(runner, exchange)
        # Outcomes do not overtake the log lines that go with them.
        if not self._take_outcomes(runner, exchange, complete=complete):
            self._owing[runner.runner_id] = None
        return inbox.count > before

    def _take_reports(self, runner: RunnerState, exchange: Exchange) -> bool:
        """Take progress and checkpoints; return whether all of them were taken."""
        complete = True
        for report in exchange.reports:
            if not runner.holds(report.task_id, report.attempt):
                if report.checkpoint is not None:
                    runner.stale.append((report.task_id, report.attempt))
                elif report.is_acknowledged:  # over: nobody wants to know any more
                    runner.acknowledged_reports.append(report.number)
            elif self._fits(report_size(report)):
                self._inbox.reports.append((runner.runner_id, report))
            else:
                complete = False
        return complete

    def _take_logs(self, runner: RunnerState, exchange: Exchange) -> bool:
        """Take log lines; return whether all of them were taken."""
        complete = True
        for log in exchange.logs:
            if not runner.holds(log.task_id, log.attempt):  # over: nobody wants them any more
                runner.acknowledged_logs.append(log.number)
            elif self._fits(log_size(log)):
                self._inbox.logs.append((runner.runner_id, log))
            else:
                complete = False
        return complete

    def _take_outcomes(self, runner: RunnerState, exchange: Exchange, *, complete: bool) -> bool:
        """Take outcomes, if all before them was taken; return whether all of them were."""
        for outcome in exchange.outcomes:
            key = (outcome.task_id, outcome.attempt)
            running = runner.find(*key)
            if running is None:  # settled before, or no longer this runner's: either way, done with
                runner.acknowledged.append(key)
                if outcome.kind not in CRASHES and self._fits(outcome_size(outcome)):
                    # Its own news, not what others say of it.
                    self._inbox.late.append((runner.runner_id, outcome))
            elif self._aside.has_outcome(*key):
                pass  # it is refused; it is acknowledged when it can be stored
            elif self._inbox.outcomes.has(key) or (complete and self._fits(outcome_size(outcome))):
                self._inbox.outcomes.append((running, outcome))
            else:
                complete = False
        return complete

    def _fits(self, size: int) -> bool:
        """Return whether there is room; what is larger than all the room is taken alone."""
        taken = self._inbox.bytes + self.in_flight
        return taken + size <= MAX_BYTES or not taken

    def invite(self) -> None:
        """Ask a runner for what was not taken from it, as there is room again."""
        while self._owing and 2 * (self._inbox.bytes + self.in_flight) < MAX_BYTES:
            runner_id = next(iter(self._owing))
            del self._owing[runner_id]
            runner = self._fleet.runners.get(runner_id)
            if runner is not None:
                runner.ask_again()
                return
