"""The Ray options of an attempt when earlier ones of its task ran out of memory: a pure rule."""

from collections.abc import Mapping
from typing import Any

from raytasks.model.retry import RetryPolicy

NODE_LABEL = "ray.io/node-id"
"""The label by which Ray marks each node with its id."""


def options_after(
    options: Mapping[str, Any], policy: RetryPolicy, short_on: tuple[str, ...]
) -> Mapping[str, Any]:
    """Return the Ray options of an attempt, by the handler's own ones and its policy.

    `short_on` has the node of each earlier attempt that ran out of memory, or "". The other nodes
    are only preferred: where no other one can take the attempt, it begins on one of these again.
    """
    if not short_on:
        return options
    found = dict(options)
    if policy.max_memory is not None:
        found["memory"] = policy.memory_after(float(options["memory"]), len(short_on))
    nodes = sorted({node for node in short_on if node})
    if policy.other_node and nodes:
        own = dict(options.get("label_selector") or {})
        others = list(options.get("fallback_strategy") or ())
        condition = f"!in({','.join(nodes)})"
        elsewhere = [{"label_selector": _without(item, condition)} for item in others]
        found["label_selector"] = own | {NODE_LABEL: condition}
        found["fallback_strategy"] = [*elsewhere, {"label_selector": own}, *others]
    return found


def _without(strategy: Mapping[str, Any], condition: str) -> dict[str, str]:
    return dict(strategy.get("label_selector") or {}) | {NODE_LABEL: condition}
