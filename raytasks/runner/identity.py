"""The identity of a runner, as the tracker and its pool know it."""

from dataclasses import dataclass

RAY_NAMESPACE = "raytasks"
"""The namespace of Ray in which our actors have their names, and handlers' placement groups."""


@dataclass(frozen=True)
class Identity:
    """The identity of a runner. `runner_id` is new at each start of its process; `name` stays."""

    runner_id: str
    name: str
    pool: str
    generation: str
    node_id: str | None = None
    worker_id: str | None = None
    host: str | None = None
    pid: int | None = None
