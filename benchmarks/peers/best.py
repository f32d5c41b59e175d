"""The best peer of a round, for each number that peers are compared by."""

from collections.abc import Mapping, Sequence

from benchmarks.measures import Numbers

_HIGHEST = ("drain.per_second", "end_to_end.per_second")
_LOWEST = ("single.p50_ms", "single.p99_ms")


def best_of(numbers: Mapping[str, float], peers: Sequence[str]) -> Numbers:
    """Return the best that any of the peers has reached, as `best_peer.…`."""
    best: Numbers = {}
    for names, choose in ((_HIGHEST, max), (_LOWEST, min)):
        for name in names:
            values = [numbers[full] for peer in peers if (full := f"{peer}.{name}") in numbers]
            if values:
                best[f"best_peer.{name}"] = choose(values)
    return best
