"""The metrics as the tracker gives them: numbers and their labels, before they become text."""

from collections.abc import Mapping, Sequence

from msgspec import Struct


class Durations(Struct, frozen=True, array_like=True):
    """A histogram of durations: how many in each bucket, and their sum in seconds.

    The namespace and the type are empty for those of the tracker itself.
    """

    name: str
    namespace: str
    task_type: str
    counts: Sequence[int]
    sum: float


class MetricsData(Struct):
    """All metrics, as of one moment.

    `totals` and `tasks` are by namespace and type; the name of a total is that of the table
    `totals`, that of a number of tasks its state. `runners` is by pool and state. `bounds` are the
    upper bounds of the buckets in seconds, by the histograms' names. Without a database that was
    read, `loaded` is false, and there are no totals, tasks and histograms.
    """

    version: str
    epoch: int
    store_up: bool
    paused: bool
    loaded: bool
    ray: str = ""
    totals: Sequence[tuple[str, str, str, int]] = ()
    tasks: Sequence[tuple[str, str, str, int]] = ()
    oldest_due: Mapping[str, float] = {}
    runners: Sequence[tuple[str, str, int]] = ()
    bounds: Mapping[str, Sequence[float]] = {}
    durations: Sequence[Durations] = ()
