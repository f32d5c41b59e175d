"""The place near the head node: the rule, without a cluster."""

from typing import Any

import pytest

from raytasks.runner.on_ray import nodes
from raytasks.runner.on_ray.growth import Growth
from raytasks.runner.on_ray.nodes import near_the_head, off_passing_nodes

HEAD = {"node:__internal_head__": 1.0}


def node(node_id: str, *, alive: bool = True, head: bool = False, **labels: str) -> dict[str, Any]:
    labels = {f"ray.io/{name.replace('_', '-')}": value for name, value in labels.items()}
    resources = {"CPU": 1.0, **(HEAD if head else {})}
    return {"NodeID": node_id, "Alive": alive, "Resources": resources, "Labels": labels}


def test_the_head_and_else_no_spot_node() -> None:
    found = [node("a", market_type="spot"), node("b", head=True), node("c")]
    assert near_the_head(found) == {
        "label_selector": {"ray.io/node-id": "b"},
        "fallback_strategy": [{"label_selector": {"ray.io/market-type": "!spot"}}],
    }


def test_of_several_heads_the_one_that_is_alive() -> None:
    found = [node("old", head=True, alive=False), node("new", head=True)]
    assert near_the_head(found)["label_selector"] == {"ray.io/node-id": "new"}


def test_where_the_head_is_a_spot_node_others_are_good_enough() -> None:
    [other] = near_the_head([node("a", head=True, market_type="spot")])["fallback_strategy"]
    assert other == {"label_selector": {"ray.io/market-type": "spot"}}


def test_no_head_no_preference() -> None:
    assert near_the_head([]) == {}
    assert near_the_head([node("a", head=True, alive=False)]) == {}


@pytest.mark.parametrize("is_there", [True, False])
def test_an_actor_that_stays_keeps_no_node_that_an_autoscaler_would_end(
    monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    monkeypatch.setattr(nodes, "growth_now", lambda: Growth({}, is_there))
    monkeypatch.setattr("ray.nodes", lambda: [node("b", head=True), node("c")])
    found = off_passing_nodes({"num_cpus": 0})
    selector = {"ray.io/node-id": "b"} if is_there else None
    assert (found["num_cpus"], found.get("label_selector")) == (0, selector)


def test_a_place_that_a_handler_names_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "growth_now", lambda: Growth({}, is_there=True))
    named = {"num_cpus": 0, "label_selector": {"zone": "a"}}
    assert off_passing_nodes(named) == named
