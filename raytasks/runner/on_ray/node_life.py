"""Whether a node of the cluster is gone: what ran there did not die of its own fault."""

import asyncio
import contextlib
import logging
import socket

import ray

log = logging.getLogger(__name__)

_CONNECT_SECONDS = 0.5
_ANSWER_SECONDS = 1.0
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"  # and settings: none
_LOOK_AGAIN_SECONDS = 0.25
_LOOK_SECONDS = 5.0


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
    """Look now: the control store hears of a node's death only seconds later, its port at once.

    So one that is frozen is found too.
    """
    try:
        node = next((node for node in ray.nodes() if node["NodeID"] == node_id), None)
    except Exception as error:
        log.warning("whether a node has died cannot be had: %r", error)
        return False
    if node is None or not node["Alive"]:
        return node is not None
    return not _answers((node["NodeManagerAddress"], node["NodeManagerPort"]))


def _answers(address: tuple[str, int]) -> bool:
    """Return whether the process behind a port reacts: a frozen one still takes connections.

    It is a server of gRPC, which greets who greets it; one that wants TLS hangs up, which will do.
    """
    try:
        with socket.create_connection(address, _CONNECT_SECONDS) as connection:
            connection.settimeout(_ANSWER_SECONDS)
            connection.sendall(_GREETING)
            connection.recv(1)
    except ConnectionResetError:
        return True
    except OSError:
        return False
    return True
