"""The place near the head node: the rule, without a cluster."""

from typing import Any

from raytasks.runner.on_ray.nodes import near_the_head

HEAD = {"node:__internal_head__": 1.0}


def node(node_id: str, *, alive: bool = True, head: bool = False, **labels: str) -> dict[str, Any]:
    labels = {f"ray.io/{name.replace('_', '-')}": value for name, value in labels.items()}
    resources = {"CPU": 1.0, **(HEAD if head else {})}
    return {"NodeID": node_id, "Alive": alive, "Resources": resources, "Labels": labels}


def test_the_head_and_else_no_spot_node() -> None:
    nodes = [node("a", market_type="spot"), node("b", head=True), node("c")]
    assert near_the_head(nodes) == {
        "label_selector": {"ray.io/node-id": "b"},
        "fallback_strategy": [{"label_selector": {"ray.io/market-type": "!spot"}}],
    }


def test_of_several_heads_the_one_that_is_alive() -> None:
    nodes = [node("old", head=True, alive=False), node("new", head=True)]
    assert near_the_head(nodes)["label_selector"] == {"ray.io/node-id": "new"}


def test_where_the_head_is_a_spot_node_others_are_good_enough() -> None:
    [other] = near_the_head([node("a", head=True, market_type="spot")])["fallback_strategy"]
    assert other == {"label_selector": {"ray.io/market-type": "spot"}}


def test_no_head_no_preference() -> None:
    assert near_the_head([]) == {}
    assert near_the_head([node("a", head=True, alive=False)]) == {}
