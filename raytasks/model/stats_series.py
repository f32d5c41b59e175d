"""The statistics as series over time. Data only.

Times are in seconds since the epoch (UTC), durations in seconds.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

FINE_STEP, COARSE_STEP = 60, 600
"""The steps of a series in seconds: of one of an hour at most, and of a longer one."""

FINE_SECONDS = 3600
MIN_SECONDS, MAX_SECONDS = 60, 86_400

Percentiles = Mapping[str, Sequence[float | None]]
"""The series of each percentile, such as `p95`; None for a step without any duration."""


class StatsSeries(Struct, frozen=True):
    """The statistics in steps, the oldest first. The last step still goes on.

    - `since`: when the first step begins.
    - `submitted`, `completed`, `failed`: numbers of tasks.
    - `backlog`: how many tasks waited at the end of the step, or wait now; None if that is not
      known.
    - `backlog_by_type`: the same of the types with the largest backlogs. So many more had one:
      `omitted_types`.
    - `queue_wait`, `run_time`: percentiles of attempts.
    """

    since: float
    step_seconds: int
    submitted: Sequence[int]
    completed: Sequence[int]
    failed: Sequence[int]
    backlog: Sequence[int | None]
    backlog_by_type: Mapping[str, Sequence[int | None]]
    omitted_types: int
    queue_wait: Percentiles
    run_time: Percentiles
