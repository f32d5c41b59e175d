"""The scenarios, and what has to run for each of them."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.measures import Result
from benchmarks.scenarios import (
    bare,
    commits,
    drain,
    end_to_end,
    fair_shares,
    growth,
    idle,
    keys,
    lists,
    memory,
    nodes,
    noop,
    reads,
    side_by_side,
    single,
    slow,
    submission,
    waiting,
)
from benchmarks.scenarios.place import Place
from benchmarks.servers.noop import running_noop
from benchmarks.servers.postgres import running_postgres
from benchmarks.servers.programs import Conversation, clean
from benchmarks.servers.service import running_service


@dataclass(frozen=True)
class Group:
    """Scenarios that share what runs for them. `measure` gives the result of each.

    A `long` one takes minutes: it is measured in the first round only.
    """

    name: str
    scenarios: tuple[str, ...]
    measure: Callable[[Place, frozenset[str]], Iterator[Result]]
    long: bool = False

    def chosen(self, only: frozenset[str]) -> frozenset[str]:
        """Return those that were asked for, by their names or the group's; without names, all."""
        if not only or self.name in only:
            return frozenset(self.scenarios)
        return frozenset(name for name in self.scenarios if {name, f"{self.name}.{name}"} & only)


def _bare_ray(place: Place, chosen: frozenset[str]) -> Iterator[Result]:
    quiet = clean(RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0")  # as raytasks has it
    conversation = Conversation("benchmarks.servers.bare_ray", environment=quiet)
    try:
        if "tasks" in chosen:
            yield _named("ray.", bare.measure(conversation, place.sizes))
        if "idle" in chosen:
            conversation.ask(1)
            yield _named("ray.", idle.measure(conversation, place.sizes))
    finally:
        conversation.stop()


def _noop(name: str, place: Place, chosen: frozenset[str], *, haproxy: bool) -> Iterator[Result]:
    with running_noop(place.folder / name, haproxy=haproxy) as server:
        if "noop" in chosen:
            yield _named(f"{name}.", noop.measure(server, place.sizes))
        if "idle" in chosen:
            yield _named(f"{name}.", idle.measure(server.program, place.sizes))


_SHARING: dict[str, Any] = {
    "drain": drain.measure,
    "submission": submission.measure,
    "single": single.measure,
    "end_to_end": end_to_end.measure,
    "listener": end_to_end.through_listener,
    "reads": reads.measure,
    "waiting": waiting.measure,
    "idle": lambda service, sizes: idle.measure(service.program, sizes),
}
_ON_A_SERVICE = {**_SHARING, "keys": keys.measure}

# A runner that is replaced takes a processor for two seconds, in one drain of several.
_SAME_RUNNERS = {"RUNNER_MAX_TASKS": "100000000"}


def service_group(
    name: str, database: str, scenarios: tuple[str, ...], *, long: bool = False, **settings: str
) -> Group:
    """Return scenarios that share a service on `sqlite` or `postgresql`, with settings."""
    return Group(name, scenarios, partial(_service, name, database, settings), long=long)


def _service(
    name: str,
    database: str,
    settings: Mapping[str, str],
    place: Place,
    chosen: frozenset[str],
) -> Iterator[Result]:
    with (
        _database(database) as url,
        running_service(place.folder / name, url, environment=settings) as service,
    ):
        for scenario, measure in _ON_A_SERVICE.items():
            if scenario in chosen:
                yield _named(f"{name}.", measure(service, place.sizes))


@contextmanager
def _database(name: str) -> Iterator[str | None]:
    if name == "sqlite":
        yield None
        return
    with running_postgres() as server:
        yield server.new_database()


def _alone(
    prefix: str, measure: Callable[[Place], Result], place: Place, _: frozenset[str]
) -> Iterator[Result]:
    yield _named(prefix, measure(place))
    shutil.rmtree(place.folder, ignore_errors=True)


def _named(prefix: str, result: Result) -> Result:
    named = Result({})
    named.add(result, prefix)
    return named


GROUPS = (
    Group("ray", ("tasks", "idle"), _bare_ray),
    Group("haproxy", ("noop", "idle"), partial(_noop, "haproxy", haproxy=True)),
    Group("proxy", ("noop",), partial(_noop, "proxy", haproxy=False)),
    Group("commits", ("commits",), partial(_alone, "commits.", commits.measure)),
    service_group("sqlite", "sqlite", tuple(_SHARING)),
    service_group(
        "postgresql",
        "postgresql",
        ("drain", "submission", "single", "end_to_end", "listener", "reads"),
    ),
    Group("slow", ("slow",), partial(_alone, "", slow.measure)),
    Group(
        "side_by_side",
        ("side_by_side",),
        partial(_alone, "side_by_side.", side_by_side.measure),
    ),
    Group(
        "fair_shares",
        ("fair_shares",),
        partial(_alone, "fair_shares.", fair_shares.measure),
        long=True,
    ),
    service_group("sqlite_keys", "sqlite", ("keys",), long=True, **_SAME_RUNNERS),
    service_group("postgresql_keys", "postgresql", ("keys",), long=True, **_SAME_RUNNERS),
    Group("nodes", ("nodes",), partial(_alone, "", nodes.measure), long=True),
    Group("growth", ("growth",), partial(_alone, "", growth.measure)),
    Group("lists", ("lists",), partial(_alone, "", lists.measure), long=True),
    Group("memory", ("memory",), partial(_alone, "", memory.measure), long=True),
)
"""The groups in the order of a round: those that are compared are near each other."""
