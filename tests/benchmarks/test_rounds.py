"""Which groups of scenarios a round of the benchmarks measures."""

import signal
from collections.abc import Iterator

import pytest

from benchmarks.measures import Result
from benchmarks.plan import Group
from benchmarks.rounds import run
from benchmarks.scenarios.place import Place
from benchmarks.sizes import QUICK


@pytest.fixture(autouse=True)
def kept_signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("only", "rounds"),
    [
        ((), [{"short": 1.0, "long": 1.0}, {"short": 1.0}]),
        (("long",), [{"long": 1.0}, {"long": 1.0}]),
        (("short",), [{"short": 1.0}, {"short": 1.0}]),
    ],
)
def test_a_long_group_is_measured_once_unless_it_was_asked_for(
    only: tuple[str, ...], rounds: list[dict[str, float]]
) -> None:
    def group(name: str, *, long: bool) -> Group:
        def measure(_place: Place, _chosen: frozenset[str]) -> Iterator[Result]:
            yield Result({name: 1.0})

        return Group(name, (name,), measure, long=long)

    groups = [group("short", long=False), group("long", long=True)]
    assert run(groups, QUICK, 2, frozenset(only)).rounds == rounds
