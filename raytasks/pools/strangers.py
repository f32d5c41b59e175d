"""The runners that are in the database, but no longer in this cluster."""

import asyncio
from collections.abc import Sequence

from raytasks.pools.roster import PooledRunner, Tracked

_ANSWER_SECONDS = 3.0


async def mark_strangers_lost(tracked: Tracked, runners: Sequence[PooledRunner]) -> None:
    """Mark runners lost that none of these actors is.

    After a restart of the whole cluster this saves the wait for their leases to end. `runners` are
    all actors that the cluster has.
    """
    asked = [asyncio.wrap_future(runner.actor.identity.remote().future()) for runner in runners]
    if asked:
        await asyncio.wait(asked, timeout=_ANSWER_SECONDS)
    answers = [call for call in asked if call.done() and call.exception() is None]
    for call in asked:
        call.cancel()
    if len(answers) < len(asked):
        return  # one of them is being started again: the leases will decide
    present = {call.result()[0] for call in answers}
    for state in tracked.runners():
        if state.runner_id not in present:
            tracked.mark_lost(state.runner_id, "its runner is not there any more")
