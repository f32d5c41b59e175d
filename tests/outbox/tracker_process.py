"""A tracker in a process of its own, without Ray: it takes what is in the outbox."""

import asyncio

from raytasks.store.store import Store
from raytasks.tracker.core import Tracker
from tests.outbox_tools import info


def run_tracker(url: str) -> None:
    """Be the tracker of a database until the process is killed."""
    asyncio.run(_run(url))


async def _run(url: str) -> None:
    tracker = Tracker(Store(url), owner="proof")
    tracker.set_handlers([info()])
    await tracker.start()
    await tracker.run()
