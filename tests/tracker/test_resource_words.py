"""The words for what is lacking in the cluster or in a placement group."""

import pytest

from raytasks.runner.demand import NEVER_FITS, NO_RESOURCES, RUNNER_STARTING
from raytasks.runner.placement_groups import GROUP_PENDING, NO_PLACEMENT_GROUP
from raytasks.tracker.resource_words import Need, waiting_words

CPU = {"CPU": 1.0}
ID = "0bed13de76d8a9e1c59708aa84b601000000"


@pytest.mark.parametrize(
    ("code", "need", "message", "fix"),
    [
        (NEVER_FITS, Need(CPU), "no node of the cluster has CPU: 1", "add a node that has it"),
        (NO_RESOURCES, Need(CPU), "no node of the cluster has CPU: 1 free now", "another node"),
        (
            NEVER_FITS,
            Need(CPU, [{"zone": "a"}], "trainers", 2),
            "no bundle 2 of the placement group trainers has CPU: 1 and the labels zone=a",
            "make the group with larger bundles",
        ),
        (
            NO_RESOURCES,
            Need(CPU, placement_group="trainers"),
            "no bundle of the placement group trainers has CPU: 1 free now",
            "a larger group",
        ),
        (
            NO_RESOURCES,
            Need({}, placement_group="trainers"),
            "no bundle of the placement group trainers has a place free now",
            "a larger group",
        ),
        (
            GROUP_PENDING,
            Need(CPU, placement_group="trainers"),
            "no bundle of the placement group trainers has a node yet: none has free what the "
            "bundle reserves",
            "smaller bundles",
        ),
        (
            NO_PLACEMENT_GROUP,
            Need(CPU, placement_group="trainers"),
            "the placement group trainers does not exist in the Ray namespace raytasks",
            "name='trainers', lifetime='detached') after ray.init(namespace='raytasks')",
        ),
        (
            NO_PLACEMENT_GROUP,
            Need(CPU, placement_group=ID),
            f"the placement group {ID} does not exist any more, and no other gets its id",
            "name a detached group in the handler's ray_options",
        ),
        (RUNNER_STARTING, Need(CPU), "Ray is starting a process for it", ""),
    ],
)
def test_what_a_task_waits_for_and_what_helps(
    code: str, need: Need, message: str, fix: str
) -> None:
    told, helps = waiting_words(code, need)
    assert told == message
    assert fix in (helps or "")


def test_the_details_name_only_what_is_asked_for() -> None:
    assert Need(CPU).details() == {"resources": CPU}
    asked = [{"zone": "a"}]
    assert Need(CPU, asked, "trainers", 0).details() == {
        "resources": CPU, "labels": asked, "placement_group": "trainers", "bundle": 0,
    }  # fmt: skip
