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

    - `loaded`: whether the database was read. If not, there are no totals, tasks and histograms.
    - `totals`: by namespace, type and name, as in the table `totals`.
    - `tasks`: how many there are, by namespace, type and state.
    - `oldest_due`: for how many seconds the oldest due task of each type has been due.
    - `pauses`: how many are in force; `paused`: whether one of them is of the whole service.
    - `runners`: how many there are, by pool and state.
    - `ready`: how many tasks of each pool wait for a runner alone.
    - `nodes`: how many nodes are `alive` and stay, and how many are `leaving`. Empty: unknown.
    - `nodes_coming`: how many an autoscaler adds, by type.
    - `limits`: by name: what runs, the bound (None: none, or by a value), and how many ready tasks
      of its types cannot be claimed now.
    - `schedules`: how many fire, how many are paused, and the seconds until the next time (None:
      there is none; negative: it is late).
    - `held_schedules`: how many stand still, as they cannot be computed or stored.
    - `outbox`: how many rows wait in the outbox, the seconds for which the oldest has waited, and
      how many rows the database refuses.
    - `earlier`: how many earlier clusters may still run something, and how many attempts they hold.
    - `bounds`: the upper bounds of the buckets in seconds, by the histograms' names.
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
    pauses: int = 0
    limits: Sequence[tuple[str, int, int | None, int]] = ()
    schedules: tuple[int, int, float | None] = (0, 0, None)
    outbox: tuple[int, float, int] = (0, 0.0, 0)
    nodes: Mapping[str, int] = {}
    nodes_coming: Mapping[str, int] = {}
    earlier: tuple[int, int] = (0, 0)
    ready: Mapping[str, int] = {}
    held_schedules: int = 0
