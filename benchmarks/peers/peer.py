"""The peers: what each one consists of, and how it is started."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

HERE = Path(__file__).parent

Command = tuple[str, ...]
"""A command; `{bin}`, `{port}` and `{url}` stand for the environment's programs and the like."""

_UVICORN = ("{bin}/uvicorn", "app:app", "--port={port}", "--log-level=warning", "--no-access-log")
_TWO = 2  # processors of the machine that the targets are for


@dataclass(frozen=True)
class Peer:
    """A task queue with an HTTP front.

    `prepare` runs once, before anything else. The `workers` run the tasks. With `front_works` the
    front itself runs what it is sent, and the workers are for the drain alone. The variables in
    `single_variables` are only for the scenario of one task at a time.
    """

    name: str
    folder: str
    server: Literal["redis", "postgresql"]
    workers: tuple[Command, ...]
    front: Command = _UVICORN
    prepare: Command | None = None
    front_works: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    single_variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Its folder."""
        return HERE / self.folder


_CELERY: Command = (
    "{bin}/celery", "--app=tasks:queue", "worker", f"--concurrency={_TWO}",
    "--without-gossip", "--without-mingle", "--loglevel=WARNING",
)  # fmt: skip
_HAPROXY = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
}

PEERS = (
    Peer("celery", "celery", "redis", (_CELERY,)),
    Peer(
        "ray_serve_documented",
        "ray_serve",
        "redis",
        (("{bin}/python", "worker.py"),),
        front=("{bin}/python", "app.py", "{port}"),
        variables={**_HAPROXY, "RAY_SERVE_ENABLE_HA_PROXY": "0", "PEER_AS_DOCUMENTED": "1",
                   "RAY_SERVE_THROUGHPUT_OPTIMIZED": "0"},
    ),
    Peer(
        "ray_serve",
        "ray_serve",
        "redis",
        (("{bin}/python", "worker.py"),),
        front=("{bin}/python", "app.py", "{port}"),
        variables=_HAPROXY,
    ),
    Peer(
        "dramatiq",
        "dramatiq",
        "redis",
        (("{bin}/dramatiq", "tasks", f"--processes={_TWO}", "--threads=8"),),
        single_variables={"PEER_RESULTS": "1"},
    ),
    Peer(
        "procrastinate",
        "procrastinate",
        "postgresql",
        (("{bin}/procrastinate", "--app=tasks.app", "worker", "--concurrency=16"),) * _TWO,
        prepare=("{bin}/procrastinate", "--app=tasks.app", "schema", "--apply"),
    ),
    Peer(
        "dbos",
        "dbos",
        "postgresql",
        (("{bin}/python", "worker.py"),) * _TWO,
        front_works=True,
    ),
)  # fmt: skip
