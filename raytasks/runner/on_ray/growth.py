"""The nodes that Ray's autoscaler is adding to the cluster, as it reports them itself.

Its first version writes a JSON document into Ray's control store, its second one a message. No
public call of Ray gives either. KubeRay's autoscaler is one of these two.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import ray

log = logging.getLogger(__name__)

_FRESH_SECONDS = 60.0
_ANSWER_SECONDS = 5.0


def coming_nodes() -> Mapping[str, int]:
    """Return how many nodes Ray's autoscaler is adding now, by the names of their types. Blocks.

    Empty if it adds none, if there is none, and if it does not report.
    """
    try:
        from ray.autoscaler.v2.utils import is_autoscaler_v2
        from ray.experimental.internal_kv import internal_kv_get_gcs_client

        client: Any = internal_kv_get_gcs_client()
        if is_autoscaler_v2(gcs_client=client):
            return from_message(client.get_cluster_status(timeout_s=_ANSWER_SECONDS))
        key = ray._private.ray_constants.DEBUG_AUTOSCALING_STATUS.encode()
        return from_document(client.internal_kv_get(key, timeout=_ANSWER_SECONDS), time.time())
    except Exception as error:
        log.warning("which nodes the autoscaler adds cannot be had: %r", error)
        return {}


def from_document(document: bytes | None, now: float) -> Mapping[str, int]:
    """Return the nodes that are coming, from what version 1 of the autoscaler reports.

    `now` is in seconds since the epoch. Empty for a report that is older than a minute: who wrote
    it has died.
    """
    if not document:
        return {}
    status = json.loads(document)
    if now - status.get("time", 0.0) > _FRESH_SECONDS:
        return {}
    report = status.get("autoscaler_report") or {}
    found = Counter(report.get("pending_launches") or {})
    found.update(node_type for _, node_type, _ in report.get("pending_nodes") or ())
    return +found


def from_message(message: bytes) -> Mapping[str, int]:
    """Return the nodes that are coming, from what version 2 of the autoscaler reports."""
    from ray.core.generated import autoscaler_pb2

    messages: Any = autoscaler_pb2
    state = messages.GetClusterStatusReply.FromString(message).autoscaling_state
    found = Counter[str]()
    for request in state.pending_instance_requests:
        found[request.ray_node_type_name] += request.count
    found.update(instance.ray_node_type_name for instance in state.pending_instances)
    return +found
