"""Ray's autoscaler as it reports itself: whether it adds nodes to the cluster, and which ones now.

Its first version writes a JSON document into Ray's control store, its second one a message. No
public call of Ray gives either. KubeRay's autoscaler is one of these two.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ray

log = logging.getLogger(__name__)

_FRESH_SECONDS = 60.0
_ANSWER_SECONDS = 5.0
_NO_TYPE = "node_"  # begins the type of a node in a cluster that only people add nodes to


@dataclass(frozen=True)
class Growth:
    """The present acts of an autoscaler on the cluster.

    - `coming`: how many nodes it is adding now, by the names of their types.
    - `is_there`: whether there is one that adds nodes and ends idle ones.
    """

    coming: Mapping[str, int] = field(default_factory=dict)
    is_there: bool = False


def growth_now() -> Growth:
    """Return what Ray's autoscaler does now. Blocks. If it does not report, there is none."""
    try:
        from ray.autoscaler.v2.utils import is_autoscaler_v2
        from ray.experimental.internal_kv import internal_kv_get_gcs_client

        client: Any = internal_kv_get_gcs_client()
        if is_autoscaler_v2(gcs_client=client):
            return from_message(client.get_cluster_status(timeout_s=_ANSWER_SECONDS))
        key = ray._private.ray_constants.DEBUG_AUTOSCALING_STATUS.encode()
        return from_document(client.internal_kv_get(key, timeout=_ANSWER_SECONDS), time.time())
    except Exception as error:
        log.warning("what the autoscaler does cannot be had: %r", error)
        return Growth()


def coming_nodes() -> Mapping[str, int]:
    """Return how many nodes Ray's autoscaler is adding now, by the names of their types. Blocks."""
    return growth_now().coming


def from_document(document: bytes | None, now: float) -> Growth:
    """Return what version 1 of the autoscaler reports.

    `now` is in seconds since the epoch. A report that is older than a minute counts for nothing:
    who wrote it has died.
    """
    status = json.loads(document or "{}")
    if now - status.get("time", 0.0) > _FRESH_SECONDS:
        return Growth()
    report = status.get("autoscaler_report") or {}
    coming = Counter(report.get("pending_launches") or {})
    coming.update(node_type for _, node_type, _ in report.get("pending_nodes") or ())
    return _growth(coming, report.get("active_nodes") or {})


def from_message(message: bytes) -> Growth:
    """Return what version 2 of the autoscaler reports."""
    from ray.core.generated import autoscaler_pb2

    messages: Any = autoscaler_pb2
    status = messages.GetClusterStatusReply.FromString(message)
    coming = Counter[str]()
    for request in status.autoscaling_state.pending_instance_requests:
        coming[request.ray_node_type_name] += request.count
    coming.update(
        instance.ray_node_type_name for instance in status.autoscaling_state.pending_instances
    )
    nodes = status.cluster_resource_state.node_states
    return _growth(coming, {node.ray_node_type_name: 1 for node in nodes})


def _growth(coming: Counter[str], present: Mapping[str, int]) -> Growth:
    coming = +coming
    names = {*coming, *present} - {""}
    return Growth(coming, any(not name.startswith(_NO_TYPE) for name in names))
