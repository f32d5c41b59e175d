"""The labels of nodes, and what a handler's `label_selector` asks of them: pure rules.

A selector has a condition for each label: `value`, `!value`, `in(a, b)` or `!in(a, b)`. A node that
lacks a label meets the conditions with `!` alone. Ray checks their form; here they are read.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Selector: TypeAlias = Mapping[str, str]
"""The conditions by label, as in Ray's option `label_selector`."""

ACCELERATOR = "accelerator_type:"
"""How the name of the resource begins by which Ray marks nodes with a certain accelerator."""

_CONDITION = re.compile(r"(!?)(?:in\((.*)\)|(.*))")


def matches(selectors: Sequence[Selector], labels: Mapping[str, str]) -> bool:
    """Return whether a node with these labels meets one of the selectors, or there is none."""
    if not selectors:
        return True
    return any(
        all(_meets(condition, labels.get(name)) for name, condition in selector.items())
        for selector in selectors
    )


def selectors_text(selectors: Sequence[Selector]) -> str:
    """Return selectors in words, such as `zone=a, disk=!hdd or zone=b`."""
    return " or ".join(
        ", ".join(f"{name}={condition}" for name, condition in sorted(selector.items()))
        for selector in selectors
    )


def needs_text(resources: Mapping[str, float], selectors: Sequence[Selector] = ()) -> str:
    """Return what is needed of a node in words, such as `CPU: 1, GPU: 2 and the labels zone=a`."""
    amounts = ", ".join(
        f"accelerator_type: {name.removeprefix(ACCELERATOR)}"
        if name.startswith(ACCELERATOR)
        else f"{name}: {amount:g}"
        for name, amount in sorted(resources.items())
    )
    if not selectors:
        return amounts
    labels = f"the labels {selectors_text(selectors)}"
    return f"{amounts} and {labels}" if amounts else labels


def _meets(condition: str, label: str | None) -> bool:
    found = _CONDITION.fullmatch(condition)
    assert found is not None  # it takes any text
    negated, several, one = found.groups()
    values = [one] if several is None else [value.strip() for value in several.split(",")]
    return (label in values) != bool(negated)
