"""Keys: queued no-ops that each need a slot of their key, beside as many without a limit."""

from collections.abc import Callable
from statistics import median
from typing import Any

from benchmarks.handlers import KEYED, NOOP
from benchmarks.measures import Result
from benchmarks.scenarios.drain import drained
from benchmarks.servers.service import Service
from benchmarks.sizes import Sizes

_KEYS = 1000
_PAIRS = 5


def measure(service: Service, sizes: Sizes) -> Result:
    """Return the drain rates without keys, with many tasks a key, and with a key for each task.

    The three are drained in turn. The ratios are taken within a turn, and are medians.
    """
    tasks = sizes.keyed
    rates: dict[str, list[float]] = {"plain": [], "many": [], "each": []}
    for _ in range(_PAIRS):
        rates["plain"].append(tasks / drained(service, tasks, NOOP))
        rates["many"].append(tasks / drained(service, tasks, KEYED, _over(_KEYS)))
        rates["each"].append(tasks / drained(service, tasks, KEYED, _over(tasks)))
    result = Result({f"{name}.per_second": median(found) for name, found in rates.items()})
    for name in ("many", "each"):
        ratios = [rate / plain for rate, plain in zip(rates[name], rates["plain"], strict=True)]
        result.numbers |= {
            f"{name}.ratio": median(ratios),
            f"{name}.lowest_ratio": min(ratios),
            f"{name}.highest_ratio": max(ratios),
        }
    return result


def _over(keys: int) -> Callable[[int], Any]:
    return lambda number: {"key": number % keys}
