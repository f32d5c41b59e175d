"""The documents about pools, runners, nodes and versions, as clients get them."""

from typing import Literal, TypedDict


class FailingStarts(TypedDict):
    """The failed starts in a row of a pool's runners, and the last error."""

    tries: int
    error: str


class PoolDocument(TypedDict):
    """A pool of runners. `states` counts them as starting, idle, busy and leaving."""

    name: str
    task_types: list[str]
    min_runners: int | None
    max_runners: int | None
    runners: int
    states: dict[str, int]
    backlog: int
    oldest_due_seconds: float | None
    resources: dict[str, float]
    failing: FailingStarts | None


class HeldAttempt(TypedDict):
    """An attempt that a runner holds. The `seconds` are since it began, or since its claim."""

    task_id: str
    task_type: str
    attempt: int
    begun: bool
    seconds: float
    last_sign_at: str | None


class RunnerDocument(TypedDict):
    """A runner. At most 100 of its attempts are in `running`, out of `running_count`."""

    name: str
    pool: str
    state: Literal["starting", "idle", "busy", "leaving"]
    host: str | None
    pid: int | None
    node_id: str | None
    since: str | None
    last_seen_at: str | None
    version: int | None
    generation: str
    way: str | None
    waits_for: str | None
    running_count: int
    running: list[HeldAttempt]


class Resource(TypedDict):
    """How much of a resource a node has, and how much of it is free."""

    total: float
    free: float | None


class NodeDocument(TypedDict):
    """A node of the cluster, with the names of the runners on it."""

    node_id: str
    host: str
    address: str
    alive: bool
    head: bool
    resources: dict[str, Resource]
    labels: dict[str, str]
    runners: list[str]


class VersionDocument(TypedDict):
    """A version of the handlers, with the result of its trial."""

    number: int
    generation: str
    state: Literal["trial", "passed", "failed"]
    seen_at: str
    in_force: bool
    error: str | None
    task_types: list[str] | None
