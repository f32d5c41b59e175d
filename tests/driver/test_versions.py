"""A driver beside a service of another version of raytasks."""

import pickle
from collections.abc import Iterator
from typing import Any

import pytest

import raytasks
from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.artifacts.large_values import LargeValues
from raytasks.driver import calling
from raytasks.driver.calling import ServiceDoor
from raytasks.driver.results import TrackerCalls
from raytasks.handling.terms import DriverTerms
from raytasks.protocol.queries import Health
from raytasks.store.store import Store
from tests.tracking import tracker_on

VALUES = LargeValues(ArtifactStore("/tmp/nowhere"), 1000, 1000)


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceDoor]:
    """A door that asks for the terms at each submission."""
    monkeypatch.setattr(calling, "TERMS_SECONDS", -1.0)
    found = ServiceDoor()
    yield found
    found.close()


def say(door: ServiceDoor, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """Have the service say that it is of this version."""

    async def terms() -> DriverTerms:
        return DriverTerms(VALUES, version=version)

    monkeypatch.setattr(door._calls, "terms", terms)


async def submitted_thrice(door: ServiceDoor) -> None:
    """Ask for the terms as three submissions do."""
    for _ in range(3):
        await door.terms()


@pytest.mark.parametrize(
    ("theirs", "shown"), [("0.0.9", "raytasks 0.0.9,"), ("", "raytasks of an unknown version,")]
)
def test_another_version_is_one_warning(
    door: ServiceDoor, monkeypatch: pytest.MonkeyPatch, theirs: str, shown: str
) -> None:
    say(door, monkeypatch, theirs)
    with pytest.warns(UserWarning, match="install the same version in both") as caught:
        door.call(submitted_thrice(door))
    [warning] = caught
    assert shown in str(warning.message)
    assert f"has {raytasks.__version__}:" in str(warning.message)


def test_the_same_version_is_none(door: ServiceDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    say(door, monkeypatch, raytasks.__version__)
    door.call(door.terms())  # a warning would be an error here


def test_terms_of_before_say_no_version() -> None:
    state = {name: value for name, value in vars(DriverTerms(VALUES)).items() if name != "version"}
    terms = object.__new__(DriverTerms)
    vars(terms).update(state)
    assert pickle.loads(pickle.dumps(terms)).version == ""


async def test_a_service_without_terms_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = TrackerCalls()

    async def send(method: str, *_: Any) -> Any:
        raise AttributeError(method)

    monkeypatch.setattr(calls._link, "send", send)
    with pytest.raises(raytasks.RaytasksError, match=r"the service is raytasks 0\.1, and this"):
        await calls.terms()


async def test_health_tells_the_version_of_the_tracker(store: Store) -> None:
    async with tracker_on(store) as tracker:
        report = await tracker.read(Health())
    assert report["tracker"]["version"] == raytasks.__version__
