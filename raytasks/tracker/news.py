"""The news of an exchange, with its times converted to the tracker's clock.

Durations are measured by the runner, on a clock that never jumps. Times that are shown, and the
order of the history, follow the tracker's clock alone, whatever other machines' clocks say.
"""

from msgspec.structs import replace

from raytasks.protocol.messages import Exchange, Outcome, Report


def on_our_clock(exchange: Exchange, now: float) -> Exchange:
    """Return an exchange that has just arrived, with all times by the tracker's clock.

    The times of a runner that does not send its clock are taken as they are.
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
