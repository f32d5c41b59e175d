"""The statistics as series over time, from the rows of the minutes and the counts of tasks."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Select, select

from raytasks.model.states import WAITING
from raytasks.model.stats_series import COARSE_STEP, FINE_SECONDS, FINE_STEP, StatsSeries
from raytasks.model.tallies import QUANTILES, Change, Tally, joined, percentiles
from raytasks.model.task_filter import is_reserved
from raytasks.protocol.queries import StatsHistory
from raytasks.store import count_steps
from raytasks.store.service_tables import stats_minutes
from raytasks.store.statements import param
from raytasks.store.stats_rows import tallies_of

MAX_TYPES = 6
"""Maximum number of task types with a series of their own: those with the largest backlogs."""

_ROWS: Select[Any] = (
    select(stats_minutes.c.minute, stats_minutes.c.task_type, stats_minutes.c.data)
    .where(
        stats_minutes.c.minute >= param("first"),
        stats_minutes.c.minute < param("end"),
        stats_minutes.c.namespace == param("namespace"),
    )
    .order_by(stats_minutes.c.minute)
)

_OF_TYPE = _ROWS.where(stats_minutes.c.task_type == param("task_type"))

_Spans = dict[int, Change | None]
"""By step, how many tasks of a type waited before and after it; None if its rows do not tell."""


def series(connection: Connection, query: StatsHistory) -> StatsSeries:
    """Return the series of a namespace, of one type or of all."""
    step = FINE_STEP if query.seconds <= FINE_SECONDS else COARSE_STEP
    size = -(-query.seconds // step)
    first = int(query.now // step) - size + 1
    sums = [Tally() for _ in range(size)]
    spans: dict[str, _Spans] = {}
    for number, task_type, tally in _parts(connection, query, first, size, step // 60):
        of_type = spans.setdefault(task_type, {})
        of_type[number] = joined(of_type.get(number), tally.backlog)
        sums[number].add(tally)
    backlogs = {
        task_type: _backlog(size, spans.get(task_type, {}), now)
        for task_type, now in _waiting(connection, query, spans).items()
    }
    peaks = {name: max(filter(None, values), default=0) for name, values in backlogs.items()}
    largest = sorted((name for name in peaks if peaks[name]), key=lambda name: (-peaks[name], name))
    return StatsSeries(
        since=float(first * step),
        step_seconds=step,
        submitted=[tally.submitted for tally in sums],
        completed=[tally.completed for tally in sums],
        failed=[tally.failed for tally in sums],
        backlog=_sums(size, backlogs.values()),
        backlog_by_type={name: backlogs[name] for name in largest[:MAX_TYPES]},
        omitted_types=len(largest[MAX_TYPES:]),
        queue_wait=_percentiles(tally.waits for tally in sums),
        run_time=_percentiles(tally.runs for tally in sums),
    )


def _parts(
    connection: Connection, query: StatsHistory, first: int, size: int, minutes: int
) -> Iterator[tuple[int, str, Tally]]:
    """Yield what is stored, with its step (from 0) and its type, in the order of time."""
    bound = {
        "p_first": first * minutes,
        "p_end": (first + size) * minutes,
        "p_namespace": query.namespace,
    }
    if query.task_type is None:
        rows = connection.execute(_ROWS, bound)
    else:
        rows = connection.execute(_OF_TYPE, {**bound, "p_task_type": query.task_type})
    for minute, task_type, data in rows:
        if query.task_type is not None or not is_reserved(task_type):
            for tally in tallies_of(data).values():
                yield minute // minutes - first, task_type, tally


def _waiting(connection: Connection, query: StatsHistory, seen: Iterable[str]) -> dict[str, int]:
    """Return by type how many tasks wait now, also of types of which none waits any more."""
    found = dict.fromkeys(seen, 0)
    for (namespace, task_type, state), number in count_steps.read_counts(connection).items():
        reserved = query.task_type is None and is_reserved(task_type)
        wanted = query.task_type in (None, task_type) and not reserved
        if wanted and namespace == query.namespace and state in WAITING:
            found[task_type] = found.get(task_type, 0) + number
    return found


def _backlog(size: int, spans: _Spans, now: int) -> list[int | None]:
    """Return how many tasks of a type waited at the end of each step.

    It goes back from now: where nothing has changed it, there is no row. Before a row that does not
    tell, it is unknown.
    """
    values: list[int | None] = [now] * size
    level: int | None = now
    for number in range(size - 1, -1, -1):
        if number not in spans:
            values[number] = level
            continue
        before, after = spans[number] or (None, None)
        values[number] = now if number == size - 1 else after
        level = before
    return values


def _sums(size: int, all_values: Iterable[Sequence[int | None]]) -> list[int | None]:
    sums: list[int | None] = [0] * size
    for values in all_values:
        for number, value in enumerate(values):
            known = sums[number]
            sums[number] = None if known is None or value is None else known + value
    return sums


def _percentiles(histograms: Iterable[dict[int, int]]) -> dict[str, list[float | None]]:
    found = [percentiles(histogram) or {} for histogram in histograms]
    return {name: [item.get(name) for item in found] for name in QUANTILES}
