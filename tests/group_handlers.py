"""Handlers whose attempts run in a placement group, for tests with a cluster."""

import time
from typing import Any

from pydantic import BaseModel
from ray.util import get_current_placement_group

from raytasks import Context, RetryPolicy, handler

GROUP = "trainers"


class Round(BaseModel):
    """The attempts before this one hang, and stubborn ones ignore that they are to exit."""

    ends: int = 1
    stubborn: bool = False


@handler(
    "grouped",
    retry=RetryPolicy(initial_delay_seconds=0.1),
    ray_options={
        "placement_group": GROUP,
        "placement_group_bundle_index": 0,
        "placement_group_capture_child_tasks": True,
    },
)
def grouped(payload: Round, context: Context) -> str | None:
    """Return the id of the group in which this runs, or hang."""
    while context.attempt < payload.ends:
        try:
            time.sleep(600)
        except SystemExit:
            if not payload.stubborn:
                raise
    group: Any = get_current_placement_group()
    return None if group is None else str(group.id.hex())


@handler("grouped_large", ray_options={"num_cpus": 8, "placement_group": GROUP})
def grouped_large(payload: Round) -> None:
    """Do nothing; it fits into no bundle."""
