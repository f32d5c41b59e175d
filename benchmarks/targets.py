"""The targets to be reached, and the measured numbers that they are judged by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.measures import Summary, summarize


@dataclass(frozen=True)
class Target:
    """A bound for a number, for its ratio to another one (`over`), or its distance (`beyond`)."""

    text: str
    name: str
    bound: float
    at_least: bool
    unit: str = ""
    over: str | None = None
    beyond: str | None = None

    def value(self, numbers: Mapping[str, float]) -> float | None:
        """Return the value of one round; None where it has not measured that."""
        needed = [name for name in (self.name, self.over, self.beyond) if name is not None]
        if any(name not in numbers for name in needed):
            return None
        value = numbers[self.name]
        if self.over is not None:
            return value / numbers[self.over] if numbers[self.over] else None
        return value - numbers[self.beyond] if self.beyond is not None else value


@dataclass(frozen=True)
class Judgement:
    """A target, and what the rounds gave; None if no round has measured it."""

    target: Target
    seen: Summary | None

    @property
    def verdict(self) -> str:
        """Whether the target was met, by the median of the rounds."""
        if self.seen is None:
            return "not measured"
        bound, seen = self.target.bound, self.seen.median
        return "met" if (seen >= bound if self.target.at_least else seen <= bound) else "missed"


def judge(targets: Sequence[Target], rounds: Sequence[Mapping[str, float]]) -> list[Judgement]:
    """Judge each target: the ratio is taken within each round, then the median of the rounds."""
    judgements = []
    for target in targets:
        values = [value for numbers in rounds if (value := target.value(numbers)) is not None]
        judgements.append(Judgement(target, summarize(values) if values else None))
    return judgements


_BARE = "ray.tasks.per_second"

TARGETS = (
    Target(
        "drain of queued no-ops, SQLite, × bare `ray.remote` no-ops",
        "sqlite.drain.per_second", 6.0, True, "×", over=_BARE,
    ),
    Target(
        "the same on PostgreSQL",
        "postgresql.drain.per_second", 4.0, True, "×", over=_BARE,
    ),
    Target(
        "submission at 16 connections while tasks run, × a no-op POST on the same ingress",
        "sqlite.submission.16.per_second", 0.7, True, "×",
        over="sqlite.submission.16.noop_per_second",
    ),
    Target(
        "the same at 64 connections",
        "sqlite.submission.64.per_second", 0.7, True, "×",
        over="sqlite.submission.64.noop_per_second",
    ),
    Target(
        "submission at 16 connections, p99",
        "sqlite.submission.16.p99_ms", 50.0, False, "ms",
    ),
    Target(
        "submission on PostgreSQL at 16 connections, × a no-op POST",
        "postgresql.submission.16.per_second", 0.65, True, "×",
        over="postgresql.submission.16.noop_per_second",
    ),
    Target(
        "drain on PostgreSQL, × that on SQLite",
        "postgresql.drain.per_second", 0.8, True, "×", over="sqlite.drain.per_second",
    ),
    Target(
        "end to end through the replica's own listener, × through Serve's ingress",
        "sqlite.listener.per_second", 1.3, True, "×", over="sqlite.end_to_end.per_second",
    ),
    Target(
        "one task at a time, submit to completed, p50",
        "sqlite.single.p50_ms", 6.0, False, "ms",
    ),
    Target("the same, p99", "sqlite.single.p99_ms", 20.0, False, "ms"),
    Target("the same, p50: aim", "sqlite.single.p50_ms", 4.4, False, "ms"),
    Target(
        "GET of a task at 16 connections, × a no-op POST",
        "sqlite.reads.16.per_second", 0.7, True, "×", over="sqlite.reads.16.noop_per_second",
    ),
    Target(
        "drain rate with 1,000,000 queued, × that with 10,000",
        "growth.1000000.per_second", 0.8, True, "×", over="growth.10000.per_second",
    ),
    Target(
        "list at 1,000,000 tasks, p99 of the slowest filter, first page",
        "lists.first.p99_ms", 50.0, False, "ms",
    ),
    Target("the same, cursor page", "lists.cursor.p99_ms", 50.0, False, "ms"),
    Target(
        "memory of the tracker at 1,000,000 queued, beyond empty",
        "memory.grown_mib", 100.0, False, "MiB",
    ),
    Target(
        "submission with 1,000 waiting clients, × without",
        "sqlite.waiting.with.per_second", 0.95, True, "×",
        over="sqlite.waiting.without.per_second",
    ),
    Target(
        "a model of 2 ms + 0.1 ms an item, in batches of 100, × one by one",
        "side_by_side.batched.per_second", 10.0, True, "×",
        over="side_by_side.one_by_one.per_second",
    ),
    Target("mean fill of its batches", "side_by_side.batched.fill", 0.9, True, ""),
    Target(
        "1,000 waits of 1 s in one runner",
        "side_by_side.waits.seconds", 3.0, False, "s",
    ),
    Target(
        "drain of 100,000 tasks over 1,000 keys, SQLite, × without keys",
        "sqlite_keys.many.ratio", 0.8, True, "×",
    ),
    Target(
        "the same with a key for each task", "sqlite_keys.each.ratio", 0.6, True, "×",
    ),
    Target(
        "drain of 100,000 tasks over 1,000 keys, PostgreSQL, × without keys",
        "postgresql_keys.many.ratio", 0.8, True, "×",
    ),
    Target(
        "the same with a key for each task", "postgresql_keys.each.ratio", 0.6, True, "×",
    ),
    Target(
        "p95 of a namespace's waits behind 100,000 tasks of another one, × alone",
        "fair_shares.behind_ratio", 2.2, False, "×",
    ),
    Target(
        "shares of two namespaces over a minute, beside their weights",
        "fair_shares.share_error_percent", 10.0, False, "%",
    ),
    Target(
        "idle processor time of the whole service, beyond bare Ray's (% of a core)",
        "sqlite.idle.processor_percent", 5.0, False, "%", beyond="ray.idle.processor_percent",
    ),
    Target(
        "the same, beyond that of Ray with Serve, HAProxy and a no-op app",
        "sqlite.idle.processor_percent", 5.0, False, "%", beyond="haproxy.idle.processor_percent",
    ),
)  # fmt: skip
"""The targets of `make bench`. Where the wish is a word ("no measurable loss", "near"), the bound
is our reading of it: 5 %."""

PEER_TARGETS = (
    Target(
        "end to end over HTTP as shipped, × the best peer",
        "raytasks.end_to_end.per_second", 0.95, True, "×", over="best_peer.end_to_end.per_second",
    ),
    Target(
        "the same through the replica's own listener",
        "raytasks.listener.per_second", 1.2, True, "×", over="best_peer.end_to_end.per_second",
    ),
    Target(
        "the same on PostgreSQL as shipped, × DBOS",
        "raytasks_postgresql.end_to_end.per_second", 2.5, True, "×",
        over="dbos.end_to_end.per_second",
    ),
    Target(
        "drain, × the best peer",
        "raytasks.drain.per_second", 1.0, True, "×", over="best_peer.drain.per_second",
    ),
    Target(
        "one task at a time, p50, × the best peer",
        "raytasks.single.p50_ms", 0.8, False, "×", over="best_peer.single.p50_ms",
    ),
    Target(
        "the same on PostgreSQL, × DBOS",
        "raytasks_postgresql.single.p50_ms", 1.0, False, "×", over="dbos.single.p50_ms",
    ),
)  # fmt: skip
"""The targets of `make bench-peers`."""
