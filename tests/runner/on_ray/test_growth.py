"""The nodes that Ray's autoscaler is adding: what its two versions report."""

import json
from typing import Any

from ray.core.generated import autoscaler_pb2

from raytasks.runner.on_ray.growth import from_document, from_message

NOW = 1_800_000_000.0


def document(**report: Any) -> bytes:
    return json.dumps({"time": NOW - 5, "autoscaler_report": report}).encode()


class TestVersion1:
    def test_launches_and_nodes_that_start_are_summed(self) -> None:
        starting = [["10.0.0.1", "cpu", "setting-up"], ["10.0.0.2", "gpu", "waiting-for-ssh"]]
        found = from_document(document(pending_launches={"cpu": 2}, pending_nodes=starting), NOW)
        assert found == {"cpu": 3, "gpu": 1}

    def test_nothing_comes(self) -> None:
        assert from_document(document(pending_launches={"cpu": 0}, pending_nodes=[]), NOW) == {}
        assert from_document(json.dumps({"time": NOW}).encode(), NOW) == {}
        assert from_document(None, NOW) == {}

    def test_an_old_report_counts_for_nothing(self) -> None:
        assert from_document(document(pending_launches={"cpu": 2}), NOW + 60) == {}


def test_version_2_sums_requests_and_instances() -> None:
    pb: Any = autoscaler_pb2
    state = pb.AutoscalingState(
        pending_instance_requests=[
            pb.PendingInstanceRequest(ray_node_type_name="cpu", count=2),
            pb.PendingInstanceRequest(ray_node_type_name="gpu", count=0),
        ],
        pending_instances=[pb.PendingInstance(ray_node_type_name="cpu")],
    )
    reply = pb.GetClusterStatusReply(autoscaling_state=state)
    assert from_message(reply.SerializeToString()) == {"cpu": 3}
    assert from_message(b"") == {}
