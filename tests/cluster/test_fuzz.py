"""Good and bad requests to every operation of the real service: the answers are as documented."""

import pytest

from tests.cluster.conftest import Service
from tests.fuzzing import operations

pytestmark = pytest.mark.slow

EXAMPLES = 40
SEED = 20261124


def test_every_answer_is_as_documented(service: Service) -> None:
    tried = []
    for label, attack in operations(service.url):
        attack(EXAMPLES, SEED)
        tried.append(label)
    assert len(tried) >= 9
    for pause in service.http.get("/pauses").json()["pauses"]:
        scope = {name: pause[name] for name in ("task_type", "namespace") if pause[name]}
        assert service.http.post("/resume", json=scope).json()["ended"]
    assert service.run("scripted", {"value": 1})["state"] == "COMPLETED"  # and it works as before
