"""The scenarios for the peers: the same as for raytasks, through each one's own means."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.load import Generator, Plan, generate
from benchmarks.measures import Result
from benchmarks.peers.peer import Peer
from benchmarks.peers.running import RunningPeer, running_peer
from benchmarks.plan import Group, service_group
from benchmarks.scenarios import end_to_end
from benchmarks.scenarios.place import Place

_POLL_SECONDS = 0.05
_WARM_TASKS = 200
_WARM_SECONDS = 60.0


def drain(peer: Peer, place: Place) -> Result:
    """Queue tasks, start the workers, and return how many a second they complete.

    The time runs from the first look that sees some of them completed: the workers' start is not
    in it. What they had done by then is not counted either.
    """
    tasks = place.sizes.drained
    with running_peer(peer, place.folder / "drain") as running:
        running.fill(tasks)
        running.start_workers()
        deadline = time.monotonic() + _WARM_SECONDS
        while not (first := running.completed()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{peer.name}: the workers do nothing")
            time.sleep(_POLL_SECONDS)
        began = time.monotonic()
        seconds = running.wait_completed(tasks) - began
    return Result({"drain.per_second": (tasks - first) / seconds, "drain.from": float(first)})


def through(peer: Peer, place: Place) -> Result:
    """Single submissions at 16 connections until all are completed: how many a second."""
    tasks = place.sizes.end_to_end
    with _working(peer, place.folder / "end_to_end", {}) as running:
        before = running.completed()
        generator = Generator(
            Plan(running.url, ("/tasks/",), end_to_end.CONNECTIONS, body={}, requests=tasks)
        )
        ended = running.wait_completed(before + tasks)
        load = generator.finish()
    return Result(
        {
            "end_to_end.per_second": tasks / (ended - load.began),
            "end_to_end.failures": float(load.failures),
            "end_to_end.generator_percent": 100 * load.processor,
        }
    )


def single(peer: Peer, place: Place) -> Result:
    """One client, one task at a time, until it is seen to be completed."""
    with _working(peer, place.folder / "single", dict(peer.single_variables)) as running:
        plan = Plan(
            running.url,
            ("/tasks/",),
            1,
            body={},
            requests=place.sizes.singles,
            wait=True,
            warm=20,
        )
        return generate(plan).result("single")


_SCENARIOS = {"drain": drain, "single": single, "end_to_end": through}


def peer_group(peer: Peer) -> Group:
    """Return the scenarios of a peer."""
    return Group(peer.name, tuple(_SCENARIOS), partial(_measure, peer))


def own_groups() -> tuple[Group, ...]:
    """Return the same for raytasks itself, and the way through its replica's own listener."""
    names = (*_SCENARIOS, "listener")
    return (
        service_group("raytasks", "sqlite", names),
        service_group("raytasks_postgresql", "postgresql", names),
    )


def _measure(peer: Peer, place: Place, chosen: frozenset[str]) -> Iterator[Result]:
    for name, scenario in _SCENARIOS.items():
        if name in chosen:
            result = Result({})
            result.add(scenario(peer, place), f"{peer.name}.")
            yield result


@contextmanager
def _working(peer: Peer, folder: Path, variables: dict[str, str]) -> Iterator[RunningPeer]:
    """Run a peer with its workers, and have it run some tasks first."""
    with running_peer(peer, folder, variables) as running:
        if not peer.front_works:
            running.start_workers()
        plan = Plan(running.url, ("/tasks/",), 4, body={}, requests=_WARM_TASKS)
        generate(plan)
        running.wait_completed(_WARM_TASKS, _WARM_SECONDS)
        yield running
