"""The cause of a runner's death: what Ray knows of its process, and whether its node died too."""

import asyncio

from raytasks.model.states import LossCause
from raytasks.pools.roster import Tracked
from raytasks.runner.on_ray.node_life import node_died
from raytasks.runner.on_ray.ray_internals import Death, death_of

_LOOKS = 5
_LOOK_SECONDS = 0.1


async def known_death(worker_id: str) -> Death | None:
    """Return why a worker (Ray's id) is gone; None if Ray does not know that it is."""
    for _ in range(_LOOKS):
        death = await asyncio.to_thread(death_of, worker_id)
        if death is not None:
            return death
        await asyncio.sleep(_LOOK_SECONDS)  # the control store may not have heard of it yet
    return None


async def tell_death(tracked: Tracked, runner_id: str, death: Death | None) -> None:
    """Tell the tracker of the death of a runner's life.

    If its node has died, no attempt is charged. With `death` None, the tracker is told only if the
    node has died.
    """
    node_id = next(
        (state.node_id for state in tracked.runners() if state.runner_id == runner_id), None
    )
    if (death is None or not death.out_of_memory) and await node_died(node_id, twice=death is None):
        said = "" if death is None else f": {death.reason}"
        tracked.mark_lost(runner_id, f"its runner's node died{said}", cause=LossCause.OUTSIDE)
    elif death is not None:
        reason = f"its runner's process died: {death.reason}"
        tracked.mark_lost(runner_id, reason, out_of_memory=death.out_of_memory)
