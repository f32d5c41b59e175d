"""The runners that are in the cluster when a tracker comes."""

from typing import Any

import pytest
import ray

from raytasks.pools import roster
from raytasks.runner.identity import RAY_NAMESPACE


@pytest.mark.parametrize("lost", [False, True])
def test_a_runner_that_ray_names_and_does_not_find_is_told(
    monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    names = ["runner.shared.1@a", "runner.shared.2@a", "something else"]
    listed = [{"name": name, "namespace": RAY_NAMESPACE} for name in names]

    def find(name: str, _namespace: str) -> Any:
        if lost and name == names[1]:
            raise ValueError(name)
        return name

    monkeypatch.setattr(ray.util, "list_named_actors", lambda **_: listed)
    monkeypatch.setattr(ray, "get_actor", find)
    found, complete = roster.runners_present()
    assert (sorted(found), complete) == (names[: 1 if lost else 2], not lost)
