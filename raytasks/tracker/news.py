"""What a runner says in an exchange, with its times put on our clock.

Durations are the runner's: it measures them on a clock that never jumps. What is shown, and what
orders the history, is by the tracker's clock alone, whatever the clocks of other machines say.
"""

from msgspec.structs import replace

from raytasks.protocol.messages import Exchange, Outcome, Report


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


def _outcome(outcome: Outcome, ahead: float, now: float) -> Outcome:
    seconds = max(0.0, outcome.finished_at - outcome.started_at)
    finished_at = min(now, outcome.finished_at - ahead)
    return replace(outcome, started_at=finished_at - seconds, finished_at=finished_at)


def _report(report: Report, ahead: float, now: float) -> Report:
    if report.began_at is None:
        return report
    return replace(report, began_at=min(now, report.began_at - ahead))
