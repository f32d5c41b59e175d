"""Whether a node of the cluster is gone: what ran there did not die of its own fault."""

import asyncio
import contextlib
import logging
import socket

import ray

log = logging.getLogger(__name__)

_CONNECT_SECONDS = 0.5
_LOOK_AGAIN_SECONDS = 0.25
_LOOK_SECONDS = 3.0


async def node_died(node_id: str | None, *, twice: bool = True) -> bool:
    """Return whether a node (Ray's id) is gone, or going just now.

    Its processes do not end in one instant, so what lives is looked at once more a moment later;
    not so where it need not be looked at `twice`.
    False for a node that nobody knows, and while the control store does not answer.
    """
    if node_id is None:
        return False
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LOOK_SECONDS):
            if await asyncio.to_thread(_is_gone, node_id):
                return True
            if not twice:
                return False
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            return await asyncio.to_thread(_is_gone, node_id)
    return False


def _is_gone(node_id: str) -> bool:
    """Look now: the control store hears of a node's death only seconds later, its port at once."""
    try:
        node = next((node for node in ray.nodes() if node["NodeID"] == node_id), None)
    except Exception as error:
        log.warning("whether a node has died cannot be had: %r", error)
        return False
    if node is None or not node["Alive"]:
        return node is not None
    try:
        address = node["NodeManagerAddress"], node["NodeManagerPort"]
        socket.create_connection(address, _CONNECT_SECONDS).close()
    except OSError:
        return True
    return False
