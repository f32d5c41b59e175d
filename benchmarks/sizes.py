"""How much is measured: in earnest, or just to see that everything works."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """How many tasks, requests and seconds each scenario takes."""

    drained: int = 6000
    bare_tasks: int = 6000
    commit_seconds: float = 2.0
    load_seconds: float = 8.0
    connections: tuple[int, ...] = (1, 16, 64)
    singles: int = 500
    end_to_end: int = 3000
    reads: int = 1000
    waiting_clients: int = 1000
    idle_seconds: float = 20.0
    settle_seconds: float = 10.0
    growth: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    growth_drained: int = 10_000
    listed: int = 1_000_000
    list_requests: int = 200
    remembered: int = 1_000_000
    nodes: tuple[int, ...] = (1, 2, 4)
    slept: int = 2000
    flood: int = 100_000
    share_seconds: float = 60.0
    keyed: int = 100_000


FULL = Sizes()
QUICK = Sizes(
    drained=1000,
    bare_tasks=1000,
    commit_seconds=0.3,
    load_seconds=1.5,
    connections=(1, 16),
    singles=30,
    end_to_end=300,
    reads=100,
    waiting_clients=100,
    idle_seconds=3.0,
    settle_seconds=1.0,
    growth=(1_000, 10_000),
    growth_drained=1_000,
    listed=20_000,
    list_requests=20,
    remembered=20_000,
    nodes=(1, 2),
    slept=200,
    flood=2000,
    share_seconds=5.0,
    keyed=500,
)
