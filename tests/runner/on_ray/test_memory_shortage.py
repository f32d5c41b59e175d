"""The Ray options of an attempt after earlier ones ran out of memory."""

import ray

from raytasks import RetryPolicy
from raytasks.runner.node_labels import matches
from raytasks.runner.on_ray.memory_shortage import NODE_LABEL, options_after
from raytasks.runner.on_ray.ray_options import selectors_of

OPTIONS = {"num_cpus": 2, "memory": 100}
MORE = RetryPolicy(memory_factor=2, max_memory=500)
ELSEWHERE = RetryPolicy(other_node=True)
ONE, TWO = "a" * 56, "b" * 56


def _nothing() -> None:
    """Stand in for a handler."""


def test_the_first_attempt_asks_for_what_the_handler_says() -> None:
    assert options_after(OPTIONS, MORE, ()) == OPTIONS


def test_it_asks_for_more_memory() -> None:
    asked = [options_after(OPTIONS, MORE, ("",) * times)["memory"] for times in (1, 2, 3)]
    assert asked == [200, 400, 500]
    assert options_after(OPTIONS, MORE, (ONE,)) == OPTIONS | {"memory": 200}


def test_it_prefers_other_nodes() -> None:
    found = options_after(OPTIONS, ELSEWHERE, (ONE, "", TWO, ONE))
    assert found["memory"] == 100
    ray.remote(_nothing).options(**found)  # Ray takes its form
    [wanted, anywhere] = [found["label_selector"], found["fallback_strategy"][0]["label_selector"]]
    nodes = {node: {NODE_LABEL: node} for node in (ONE, TWO, "c" * 56)}
    assert [matches([wanted], labels) for labels in nodes.values()] == [False, False, True]
    assert anywhere == {}


def test_nodes_that_are_not_known_are_not_asked_for() -> None:
    assert options_after(OPTIONS, ELSEWHERE, ("",)) == OPTIONS


def test_the_labels_of_the_handler_come_before_another_node() -> None:
    own = {
        "label_selector": {"zone": "a"},
        "fallback_strategy": [{"label_selector": {"zone": "b"}}],
    }
    found = options_after(own, ELSEWHERE, (ONE,))
    ray.remote(_nothing).options(**found)
    elsewhere = {NODE_LABEL: f"!in({ONE})"}
    assert selectors_of(found) == [
        {"zone": "a", **elsewhere},
        {"zone": "b", **elsewhere},
        {"zone": "a"},
        {"zone": "b"},
    ]
