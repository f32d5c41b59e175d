"""Combines the chunks of `batch_processing`: the items that were kept, and their statistics."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from pydantic import JsonValue

from raytasks.builtin._batch_operations import (
    LARGEST_FAILURES,
    ChunkResult,
    Failure,
    Operation,
    check_number,
)

_PERCENTILES = (5, 25, 75, 90, 95, 99)


@dataclass
class Summary:
    """The result of a whole batch. `outputs` has the results in the order of the items."""

    outputs: list[JsonValue]
    failed_count: int
    failures: list[Failure]
    statistics: dict[str, JsonValue] = field(default_factory=dict)


def summarize(
    operation: Operation, data: list[JsonValue], chunks: Iterable[ChunkResult]
) -> Summary:
    """Combine the results of all chunks, which may come in any order."""
    ordered = sorted(chunks, key=lambda chunk: chunk.start)
    done = [
        (item, output)
        for chunk in ordered
        for item, output, failed in zip(
            data[chunk.start : chunk.start + len(chunk.outputs)],
            chunk.outputs,
            chunk.failed,
            strict=True,
        )
        if not failed
    ]
    failures = [failure for chunk in ordered for failure in chunk.failures][:LARGEST_FAILURES]
    summary = Summary(
        outputs=[output for _, output in done],
        failed_count=sum(chunk.failed_count for chunk in ordered),
        failures=failures,
    )
    match operation:
        case Operation.NORMALIZE:
            summary.statistics = {
                "changed": sum(item != output for item, output in done),
                "distinct": len({str(output) for _, output in done}),
            }
        case Operation.STATISTICS:
            summary.statistics = describe([check_number(output) for _, output in done])
        case Operation.HASH:
            summary.statistics = {"distinct": len({str(output) for _, output in done})}
        case Operation.DEDUPLICATE:
            counts = Counter(str(digest) for _, digest in done)
            firsts: dict[str, JsonValue] = {}
            for item, digest in done:
                firsts.setdefault(str(digest), item)
            summary.outputs = list(firsts.values())
            summary.statistics = {
                "unique": len(firsts),
                "duplicates": len(done) - len(firsts),
                "most_repeated": max(counts.values(), default=0),
            }
    return summary


def describe(numbers: Sequence[int | float]) -> dict[str, JsonValue]:
    """Return the usual statistics of finite numbers. A figure that needs more numbers is None.

    `min` and `max` are exact, and so is the `sum` of integers. Every other figure is the exact
    value, rounded once to a float. The `stdev` is that of a sample (n - 1). Percentiles interpolate
    between the two nearest numbers: 0 is the minimum and 100 the maximum.
    """
    if not numbers:
        return dict.fromkeys(("sum", "min", "max", "mean", "median", "stdev", "percentiles")) | {
            "count": 0
        }
    ordered = sorted(numbers)
    whole = all(isinstance(number, int) for number in ordered)
    mean = statistics.mean(map(Fraction, ordered))
    return {
        "count": len(ordered),
        "sum": sum(ordered) if whole else float(mean * len(ordered)),
        "min": ordered[0],
        "max": ordered[-1],
        "mean": float(mean),
        "median": _percentile(ordered, 50),
        "stdev": float(statistics.stdev(ordered)) if len(ordered) > 1 else None,
        "percentiles": {f"p{percent}": _percentile(ordered, percent) for percent in _PERCENTILES},
    }


def _percentile(ordered: Sequence[int | float], percent: int) -> float:
    place, rest = divmod(percent * (len(ordered) - 1), 100)
    low = Fraction(ordered[place])
    high = Fraction(ordered[min(place + 1, len(ordered) - 1)])
    return float(low + (high - low) * Fraction(rest, 100))
