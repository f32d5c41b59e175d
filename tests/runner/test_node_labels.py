"""Labels of nodes, and what a handler asks of them: the rules, without Ray."""

import pytest

from raytasks.runner.node_labels import matches, needs_text


@pytest.mark.parametrize(
    ("condition", "with_a", "with_none"),
    [
        ("a", True, False),
        ("b", False, False),
        ("!a", False, True),
        ("!b", True, True),
        ("in(a)", True, False),
        ("in(b, a)", True, False),
        ("in(b,c)", False, False),
        ("!in(a,b)", False, True),
        ("!in(b, c)", True, True),
    ],
)
def test_a_condition(condition: str, with_a: bool, with_none: bool) -> None:
    assert matches([{"zone": condition}], {"zone": "a"}) is with_a
    assert matches([{"zone": condition}], {"other": "a"}) is with_none


def test_all_conditions_of_one_selector_must_be_met() -> None:
    asked = [{"zone": "a", "disk": "ssd"}, {"zone": "b"}]
    assert matches(asked, {"zone": "a", "disk": "ssd"})
    assert matches(asked, {"zone": "b", "disk": "hdd"})
    assert not matches(asked, {"zone": "a", "disk": "hdd"})
    assert not matches(asked, {})
    assert matches([], {})


def test_needs_in_words() -> None:
    assert needs_text({"GPU": 2.0, "CPU": 0.5}) == "CPU: 0.5, GPU: 2"
    assert needs_text({"accelerator_type:A100": 0.001}) == "accelerator_type: A100"
    asked = [{"zone": "a", "disk": "!hdd"}, {"zone": "b"}]
    assert needs_text({}, asked) == "the labels disk=!hdd, zone=a or zone=b"
    assert needs_text({"CPU": 1}, asked[1:]) == "CPU: 1 and the labels zone=b"
