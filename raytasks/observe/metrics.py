"""The metrics as text for Prometheus, made from the numbers that the tracker gives."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client.core import (
    CollectorRegistry,
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.utils import floatToGoString

from raytasks.protocol.metrics_data import MetricsData

PREFIX = "raytasks_"

_TYPE = ("namespace", "task_type")

_TOTALS = {
    "submitted": ("tasks_submitted", "Tasks that were accepted."),
    "retried": ("tasks_retried", "Ended tasks that a person has retried."),
    "expired": ("tasks_expired", "Tasks that expired before they began."),
    "charged": ("attempts_charged", "Lost attempts that were charged to their task."),
    "late": ("late_outcomes", "Outcomes that came after their attempt was given up as lost."),
}
"""The totals without a further label: each with its name as a metric, and what it counts."""

_LABELLED = {
    "finished": ("tasks_finished", "state", "Tasks that ended, by the state that they got."),
    "attempts": ("attempts", "outcome", "Attempts that ended, by how they ended."),
}
"""The totals with a further label, by the part of their name before the dot."""

_DURATIONS = {
    "wait": ("queue_wait", "Seconds from due to begun."),
    "run": ("run", "Seconds that attempts ran which succeeded, failed or timed out."),
    "tick": ("tick", "Seconds of the tracker's ticks that stored something."),
    "commit": ("commit", "Seconds of these ticks' transactions, with their commit."),
}


def render(data: MetricsData, accept: str) -> tuple[bytes, str]:
    """Return the metrics as text, and its content type, in a format that `accept` asks for.

    The format is OpenMetrics if the header asks for it, else that of Prometheus.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(data))
    encoder, content_type = choose_encoder(accept)
    return encoder(registry), content_type


class _Collector:
    """A source of metrics with the numbers of one moment."""

    def __init__(self, data: MetricsData) -> None:
        self._data = data

    def collect(self) -> Iterator[Metric]:
        """Return all metrics."""
        data = self._data
        yield from _about_service(data)
        yield from _totals(data.totals)
        if data.loaded:
            tasks = _gauge("tasks", "Tasks that there are now.", (*_TYPE, "state"))
            for *labels, number in data.tasks:
                tasks.add_metric([str(label) for label in labels], number)
            yield tasks
            ages = _gauge("oldest_due_seconds", _OLDEST, ("task_type",))
            for name, seconds in data.oldest_due.items():
                ages.add_metric([name], seconds)
            yield ages
            ready = _gauge("pool_ready_tasks", _READY, ("pool",))
            for pool, number in data.ready.items():
                ready.add_metric([pool], number)
            yield ready
            yield from _limits(data.limits)
            yield from _schedules(*data.schedules, data.held_schedules)
            yield from _singles(_OUTBOX, data.outbox)
            yield from _singles(_EARLIER, data.earlier)
        yield from _durations(data)


_OUTBOX = {
    "outbox_rows": "Committed tasks in the outbox that were not taken yet.",
    "outbox_oldest_seconds": "Seconds for which the oldest of them has waited.",
    "outbox_set_aside": "Rows of the outbox that the database refuses.",
}
_EARLIER = {
    "earlier_clusters": "Earlier clusters on this database that may still run attempts.",
    "earlier_attempts": "Attempts that run in these clusters.",
}
_READY = "Due tasks of a pool that wait for a runner alone: no pause and no limit holds them."
_OLDEST = "Seconds for which the oldest due task of a type has been waiting for a runner."


def _gauge(name: str, text: str, labels: Sequence[str] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, labels=labels)


def _about_service(data: MetricsData) -> Iterator[Metric]:
    build = _gauge("build_info", "The versions of raytasks and Ray.", ("version", "ray"))
    build.add_metric([data.version, data.ray], 1)
    yield build
    singles = {
        "store_up": (data.store_up, "Whether the database takes what the tracker writes."),
        "paused": (data.paused, "Whether no task is to begin, as a person has asked for."),
        "pauses": (data.pauses, "Pauses in force: of types, namespaces, or the whole service."),
        "epoch": (data.epoch, "The number of the tracker's reign. It grows at each takeover."),
    }
    for name, (number, text) in singles.items():
        if name == "store_up" or data.epoch:
            single = _gauge(name, text)
            single.add_metric([], float(number))
            yield single
    runners = _gauge("runners", "Runners that there are now.", ("pool", "state"))
    for pool, state, number in data.runners:
        runners.add_metric([pool, state], number)
    yield runners
    nodes = _gauge(
        "nodes", "Nodes of the Ray cluster: those that stay, and those that leave.", ("state",)
    )
    for state, number in data.nodes.items():
        nodes.add_metric([state], number)
    yield nodes
    coming = _gauge("nodes_coming", "Nodes that Ray's autoscaler is adding.", ("node_type",))
    for node_type, number in data.nodes_coming.items():
        coming.add_metric([node_type], number)
    yield coming


def _limits(limits: Iterable[tuple[str, int, int | None, int]]) -> Iterator[Metric]:
    running = _gauge("limit_running", "Attempts that count against a limit.", ("limit",))
    bound = _gauge("limit_bound", "How many of them may run at a time.", ("limit",))
    held = _gauge("limit_held_tasks", "Due tasks of its types that may not begin now.", ("limit",))
    for name, runs, most, waiting in limits:
        running.add_metric([name], runs)
        held.add_metric([name], waiting)
        if most is not None:
            bound.add_metric([name], most)
    yield from (running, bound, held)


def _schedules(active: int, paused: int, seconds: float | None, held: int) -> Iterator[Metric]:
    schedules = _gauge("schedules", "Schedules that there are now.", ("state",))
    schedules.add_metric(["active"], active)
    schedules.add_metric(["paused"], paused)
    schedules.add_metric(["held"], held)
    yield schedules
    coming = _gauge("schedule_next_seconds", "Seconds until the next schedule is due.")
    if seconds is not None:
        coming.add_metric([], seconds)
    yield coming


def _singles(names: Mapping[str, str], numbers: Iterable[float]) -> Iterator[Metric]:
    for (name, text), number in zip(names.items(), numbers, strict=True):
        single = _gauge(name, text)
        single.add_metric([], number)
        yield single


def _totals(totals: Iterable[tuple[str, str, str, int]]) -> Iterator[Metric]:
    families = {
        kind: CounterMetricFamily(PREFIX + name, text, labels=_TYPE)
        for kind, (name, text) in _TOTALS.items()
    }
    families |= {
        kind: CounterMetricFamily(PREFIX + name, text, labels=(*_TYPE, label))
        for kind, (name, label, text) in _LABELLED.items()
    }
    for namespace, task_type, name, number in totals:
        kind, _, detail = name.partition(".")
        labels = [namespace, task_type, *([detail] if detail else [])]
        families[kind].add_metric(labels, number)
    yield from families.values()


def _durations(data: MetricsData) -> Iterator[Metric]:
    families = {
        kind: HistogramMetricFamily(
            f"{PREFIX}{name}_seconds", text, labels=() if kind in ("tick", "commit") else _TYPE
        )
        for kind, (name, text) in _DURATIONS.items()
    }
    edges = {kind: [*map(floatToGoString, bounds), "+Inf"] for kind, bounds in data.bounds.items()}
    for item in data.durations:
        labels = [item.namespace, item.task_type] if item.task_type else []
        buckets = list(zip(edges[item.name], accumulate(item.counts), strict=True))
        families[item.name].add_metric(labels, buckets, item.sum)
    yield from families.values()
