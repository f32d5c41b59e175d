"""What a runner says in an exchange: its times are put on our clock, and its news in the inbox.

Durations are the runner's: it measures them on a clock that never jumps. What is shown, and what
orders the history, is by the tracker's clock alone, whatever the clocks of other machines say.
"""

from msgspec.structs import replace

from raytasks.messages import Exchange, Outcome, Report
from raytasks.states import CRASHES
from raytasks.tracker.fleet import RunnerState
from raytasks.tracker.inbox import Inbox


def on_our_clock(exchange: Exchange, now: float) -> Exchange:
    """Return an exchange that has just come, with all times by our clock.

    A runner that does not say what its own clock shows is believed.
    """
    if exchange.sent_at is None:
        return exchange
    ahead = exchange.sent_at - now
    return replace(
        exchange,
        outcomes=[_outcome(item, ahead, now) for item in exchange.outcomes],
        reports=[_report(item, ahead, now) for item in exchange.reports],
        logs=[
            replace(log, lines=[replace(line, at=min(now, line.at - ahead)) for line in log.lines])
            for log in exchange.logs
        ],
    )


def take_news(inbox: Inbox, runner: RunnerState, exchange: Exchange) -> bool:
    """Put a runner's news into the inbox, and return whether there were any."""
    before = len(inbox.outcomes) + len(inbox.reports) + len(inbox.logs) + len(inbox.late)
    for outcome in exchange.outcomes:
        running = runner.find(outcome.task_id, outcome.attempt)
        if running is None:  # settled before, or no longer this runner's: either way, done with
            runner.acknowledged.append((outcome.task_id, outcome.attempt))
            if outcome.kind not in CRASHES:  # its own news, not what others say of it
                inbox.late.append((runner.runner_id, outcome))
        else:
            inbox.outcomes.append((running, outcome))
    for report in exchange.reports:
        if runner.holds(report.task_id, report.attempt):
            inbox.reports.append((runner.runner_id, report))
        elif report.checkpoint is not None:
            runner.stale.append((report.task_id, report.attempt))
        elif report.is_acknowledged:  # its attempt is over: nobody wants to know any more
            runner.acknowledged_reports.append(report.number)
    for log in exchange.logs:
        if runner.holds(log.task_id, log.attempt):
            inbox.logs.append((runner.runner_id, log))
        else:  # its attempt is over: nobody wants them any more
            runner.acknowledged_logs.append(log.number)
    return len(inbox.outcomes) + len(inbox.reports) + len(inbox.logs) + len(inbox.late) > before


def _outcome(outcome: Outcome, ahead: float, now: float) -> Outcome:
    seconds = max(0.0, outcome.finished_at - outcome.started_at)
    finished_at = min(now, outcome.finished_at - ahead)
    return replace(outcome, started_at=finished_at - seconds, finished_at=finished_at)


def _report(report: Report, ahead: float, now: float) -> Report:
    if report.began_at is None:
        return report
    return replace(report, began_at=min(now, report.began_at - ahead))
