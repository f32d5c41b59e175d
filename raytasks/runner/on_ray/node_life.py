"""The check whether a node of the cluster is gone: attempts that ran there are not to blame."""

import asyncio
import contextlib
import logging
import socket

import ray

log = logging.getLogger(__name__)

_CONNECT_SECONDS = 0.5
_ANSWER_SECONDS = 1.0
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"  # and empty settings
_LOOK_AGAIN_SECONDS = 0.25
_LOOK_SECONDS = 5.0


async def node_died(node_id: str | None, *, twice: bool = True) -> bool:
    """Return whether a node (Ray's id) is gone or is just ending.

    The processes of a node do not all end at once. So with `twice`, a node that seems alive is
    checked again a moment later. Returns False for an unknown node, and if the control store does
    not answer.
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
    """Return whether a node is gone now. Blocks.

    The control store hears of a node's death only seconds later, so its port is tried too. That
    also finds a frozen node.
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
    """Return whether the process behind a port reacts. A frozen one still accepts connections.

    The process is a gRPC server, which answers a greeting. With TLS it closes the connection, which
    counts as an answer.
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
