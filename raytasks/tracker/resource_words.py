"""The words for resources that attempts and runners need and the cluster lacks."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raytasks.protocol.messages import Demand
from raytasks.runner.identity import RAY_NAMESPACE
from raytasks.runner.node_labels import Selector, needs_text
from raytasks.runner.placement_groups import ANY_BUNDLE, GROUP_PENDING

_ID = re.compile("[0-9a-f]{36}")  # as Ray writes it; a group is known by it if it has no name


@dataclass(frozen=True)
class Need:
    """The resources needed of a node, or of a bundle of a placement group; see `Demand`.

    `coming` has the nodes that Ray's autoscaler is adding, by type.
    """

    resources: Mapping[str, float]
    selectors: Sequence[Selector] = ()
    placement_group: str = ""
    bundle: int = ANY_BUNDLE
    coming: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, demand: Demand) -> "Need":
        """Return what each of the attempts needs that wait."""
        return cls(
            demand.resources,
            demand.selectors,
            demand.placement_group,
            demand.bundle,
            demand.coming,
        )

    def text(self) -> str:
        """Return what is needed, such as `CPU: 1, GPU: 2 and the labels zone=a`."""
        return needs_text(self.resources, self.selectors) or "a place"

    def no_place(self) -> str:
        """Return the subject of a sentence that there is none: a node of the cluster, a bundle."""
        if not self.placement_group:
            return "no node of the cluster"
        bundle = "bundle" if self.bundle == ANY_BUNDLE else f"bundle {self.bundle}"
        return f"no {bundle} of the placement group {self.placement_group}"

    def details(self) -> dict[str, Any]:
        """Return what is needed as JSON has it."""
        found: dict[str, Any] = {"resources": dict(self.resources)}
        if self.selectors:
            found["labels"] = [dict(selector) for selector in self.selectors]
        if self.placement_group:
            found["placement_group"] = self.placement_group
        if self.bundle != ANY_BUNDLE:
            found["bundle"] = self.bundle
        if self.coming:
            found["nodes_coming"] = dict(self.coming)
        return found

    def coming_text(self) -> str:
        """Return how many nodes are being added, such as `cpu: 2, gpu: 1`."""
        return ", ".join(f"{name}: {number}" for name, number in sorted(self.coming.items()))


def waiting_words(code: str, need: Need) -> tuple[str, str | None]:
    """Return why a task waits, and what helps; None: nothing but time."""
    match code:
        case "never_fits":
            return f"{need.no_place()} has {need.text()}", never_fits_fix(need)
        case "nodes_coming":
            return (
                f"{need.no_place()} has {need.text()} free now, and Ray's autoscaler is adding "
                f"nodes ({need.coming_text()})",
                "it begins on one of them if that has enough; see 'ray status'",
            )
        case "no_resources" if need.placement_group:
            fix = "it begins when enough has ended; a larger group would let it begin sooner"
            return f"{need.no_place()} has {need.text()} free now", fix
        case "no_resources":
            fix = "it begins when enough has ended; another node would let it begin sooner"
            return f"{need.no_place()} has {need.text()} free now", fix
        case "no_placement_group" | "placement_group_pending":
            return group_words(code, need)
        case _:
            return "Ray is starting a process for it", None


def group_words(code: str, need: Need) -> tuple[str, str]:
    """Return why nothing runs in a placement group, and what helps."""
    name = need.placement_group
    if code == GROUP_PENDING:
        return (
            f"{need.no_place()} has a node yet: none has free what the bundle reserves",
            "add a node, end what holds the resources, or make the group with smaller bundles",
        )
    if _ID.fullmatch(name):
        return (
            f"the placement group {name} does not exist any more, and no other gets its id",
            "name a detached group in the handler's ray_options: placement_group='NAME'; deploy",
        )
    return (
        f"the placement group {name} does not exist in the Ray namespace {RAY_NAMESPACE}",
        f"make it with ray.util.placement_group(bundles, name={name!r}, lifetime='detached') after "
        f"ray.init(namespace={RAY_NAMESPACE!r}); the tasks begin by themselves then",
    )


def never_fits_fix(need: Need) -> str:
    """Return what helps where nothing is large enough."""
    if need.placement_group:
        return "make the group with larger bundles, or ask for less in the handler's ray_options"
    return (
        "add a node that has it, or ask for less in the handler's ray_options; Ray's autoscaler "
        "adds one by itself if one of its node types has it"
    )
