"""The stop of a service and its drain, also where another cluster has superseded it."""

import asyncio
import contextlib
import logging
import time

from raytasks.model.acts import ActionName, NewAudit
from raytasks.model.tasks import StoreUnavailable
from raytasks.pools.manager import RunnerPools
from raytasks.tracker.core import Tracker
from raytasks.tracker.logged_acts import write_act

log = logging.getLogger(__name__)

_LAST_TICK_SECONDS = 10.0
_NOTE_SECONDS = 2.0
_TURN_SECONDS = 0.5


async def stop(core: Tracker, pools: RunnerPools, seconds: float, by: str) -> int:
    """Claim nothing more, give running attempts `seconds` to end, then end all runners.

    An attempt that still runs then is released, uncharged. Returns the number of those. The audit
    has who stops the service.
    """
    pools.stop()
    act = NewAudit(by, ActionName.STOP, details={"grace_seconds": seconds})
    await write_act(core.ticker.access, act, core.ticker.clock(), _NOTE_SECONDS)
    log.info("the service stops; running attempts have %g seconds", seconds)
    core.outpost.is_ending = True
    with contextlib.suppress(StoreUnavailable):
        await core.stop_claiming()
    await _wait_until_idle(core, seconds)
    if core.outpost.active:
        left = await _end_outpost(core, pools)
    else:
        left = core.release_all()
        await pools.end_all()
        await core.wait_until_idle(_LAST_TICK_SECONDS)
    with contextlib.suppress(StoreUnavailable):
        await core.outpost.end()
    log.info("the service has stopped; %d attempts were given back", left)
    return left


async def drain(core: Tracker, pools: RunnerPools | None, seconds: float, by: str) -> int:
    """Stop claiming, and give running attempts `seconds` to end. It lasts until `resume`.

    An attempt that still runs then is stopped and released, uncharged. Returns the number of those.
    Raises `StoreUnavailable`, also if another cluster has taken over: it claims for both.
    """
    if core.outpost.active:
        raise StoreUnavailable(f"{core.outpost.words}; drain that one, or stop this one")
    await core.pause(by, drain=True)
    await core.wait_until_idle(seconds)
    left = 0
    for runner in core.runners():
        released = core.release_runner(runner.runner_id)
        if released and pools is not None:
            pools.replace(runner.name)
        left += released
    await core.wait_until_idle(_LAST_TICK_SECONDS)
    return left


async def _wait_until_idle(core: Tracker, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if core.outpost.active:
            await core.outpost.wait_until_idle(left)
            return
        await core.wait_until_idle(min(left, _TURN_SECONDS))
        if not core.fleet.running:
            return


async def _end_outpost(core: Tracker, pools: RunnerPools) -> int:
    """End the runners, then give back what they held: nothing runs here and there at once."""
    await pools.adopt()  # a tracker that was restarted as an outpost has not looked for them
    await pools.end_all()
    try:
        async with asyncio.timeout(_LAST_TICK_SECONDS):
            return await core.outpost.release()
    except (StoreUnavailable, TimeoutError) as error:
        log.warning("what ran here begins again when its lease ends: %s", error)
        return 0
