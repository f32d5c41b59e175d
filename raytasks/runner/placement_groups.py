"""The placement groups in which remote tasks are to run: what fits there, as pure rules.

A placement group is a set of bundles, each of which reserves resources on one node. Ray gives what
is reserved names of its own: `CPU_group_<id>` for any bundle, `CPU_group_<index>_<id>` for one. A
task in the group needs these instead of the node's plain resources.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from raytasks.runner.demand import NEVER_FITS, Node, fits

NO_PLACEMENT_GROUP = "no_placement_group"
GROUP_PENDING = "placement_group_pending"

ANY_BUNDLE = -1
"""The index, as Ray writes it, of no certain bundle."""


@dataclass(frozen=True)
class GroupRequest:
    """The part of a handler's Ray options that names a placement group.

    - `name`: the group's name in our Ray namespace; the id if the handler names one by its id.
    - `bundle`: the index of the bundle, or `ANY_BUNDLE`.
    - `capture`: whether Ray tasks of the handler run in the group as well; None: as Ray decides.
    - `is_id`: the name is an id, so no later group can take the place of this one.
    """

    name: str
    bundle: int = ANY_BUNDLE
    capture: bool | None = None
    is_id: bool = False


@dataclass(frozen=True)
class GroupView:
    """A placement group as Ray reports it.

    - `group_id`: Ray's id, as hexadecimal digits.
    - `bundles`: the resources of each bundle, by Ray's names.
    - `nodes`: the node of each bundle; empty where it has none at present.
    """

    group_id: str
    bundles: Sequence[Mapping[str, float]]
    nodes: Sequence[str]


def blocked_code(
    request: GroupRequest, needs: Mapping[str, float], group: GroupView | None
) -> str | None:
    """Return why no task can be handed to Ray that needs this in the group; None if it can.

    The group is None if it does not exist. Ray refuses what fits no bundle. A bundle without a node
    has nothing to give yet: the group is new, or the bundle's node is gone.
    """
    if group is None:
        return NO_PLACEMENT_GROUP
    asked = [
        node
        for index, (bundle, node) in enumerate(zip(group.bundles, group.nodes, strict=True))
        if request.bundle in (ANY_BUNDLE, index) and fits(needs, bundle)
    ]
    if not asked:
        return NEVER_FITS
    return None if any(asked) else GROUP_PENDING


def in_group(
    needs: Mapping[str, float], group: GroupView, bundle: int = ANY_BUNDLE
) -> dict[str, float]:
    """Return the needs by the names that these resources have in the group or in one bundle."""
    return {_name(name, group, bundle): amount for name, amount in needs.items()}


def touched(needs: Collection[str], group: GroupView, bundle: int = ANY_BUNDLE) -> frozenset[str]:
    """Return the names of what a task may take in the group, for whoever waits for some of it.

    What is taken of one bundle is taken of the group. What any bundle may give may be taken of the
    very bundle that another task waits for. Two tasks for different bundles share nothing.
    """
    bundles = range(len(group.bundles)) if bundle == ANY_BUNDLE else (bundle,)
    return frozenset(
        _name(name, group, index) for name in needs for index in (ANY_BUNDLE, *bundles)
    )


def with_groups(nodes: Sequence[Node], groups: Collection[GroupView]) -> list[Node]:
    """Return the nodes with what the groups have there: Ray only reports how much of it is free."""
    more: dict[str, dict[str, float]] = {node.node_id: defaultdict(float) for node in nodes}
    for group in groups:
        for index, (bundle, node_id) in enumerate(zip(group.bundles, group.nodes, strict=True)):
            for name, amount in bundle.items() if node_id in more else ():
                for either in (ANY_BUNDLE, index):
                    more[node_id][_name(name, group, either)] += amount
    return [replace(node, total={**node.total, **more[node.node_id]}) for node in nodes]


def _name(resource: str, group: GroupView, bundle: int) -> str:
    middle = "" if bundle == ANY_BUNDLE else f"{bundle}_"
    return f"{resource}_group_{middle}{group.group_id}"
