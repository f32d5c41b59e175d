"""Ray's autoscaler and what it does: the reports of its two versions."""

import json
from typing import Any

import pytest
from ray.core.generated import autoscaler_pb2

from raytasks.runner.on_ray.growth import Growth, from_document, from_message

NOW = 1_800_000_000.0
HEAD = {"ray.head.default": 1}


def document(**report: Any) -> bytes:
    return json.dumps({"time": NOW - 5, "autoscaler_report": report}).encode()


class TestVersion1:
    def test_launches_and_nodes_that_start_are_summed(self) -> None:
        starting = [["10.0.0.1", "cpu", "setting-up"], ["10.0.0.2", "gpu", "waiting-for-ssh"]]
        found = from_document(document(pending_launches={"cpu": 2}, pending_nodes=starting), NOW)
        assert found == Growth({"cpu": 3, "gpu": 1}, is_there=True)

    def test_nothing_comes(self) -> None:
        quiet = document(active_nodes=HEAD, pending_launches={"cpu": 0}, pending_nodes=[])
        assert from_document(quiet, NOW) == Growth({}, is_there=True)

    @pytest.mark.parametrize(
        "report", [None, json.dumps({"time": NOW}).encode(), document(active_nodes={"node_ab": 1})]
    )
    def test_a_cluster_without_an_autoscaler(self, report: bytes | None) -> None:
        assert from_document(report, NOW) == Growth()

    def test_an_old_report_counts_for_nothing(self) -> None:
        late = document(active_nodes=HEAD, pending_launches={"cpu": 2})
        assert from_document(late, NOW + 60) == Growth()


class TestVersion2:
    def test_requests_and_instances_are_summed(self) -> None:
        pb: Any = autoscaler_pb2
        state = pb.AutoscalingState(
            pending_instance_requests=[
                pb.PendingInstanceRequest(ray_node_type_name="cpu", count=2),
                pb.PendingInstanceRequest(ray_node_type_name="gpu", count=0),
            ],
            pending_instances=[pb.PendingInstance(ray_node_type_name="cpu")],
        )
        reply = pb.GetClusterStatusReply(autoscaling_state=state)
        assert from_message(reply.SerializeToString()) == Growth({"cpu": 3}, is_there=True)

    @pytest.mark.parametrize(("name", "is_there"), [("", False), ("node_ab", False), ("cpu", True)])
    def test_only_an_autoscaler_names_the_types_of_nodes(self, name: str, is_there: bool) -> None:
        pb: Any = autoscaler_pb2
        nodes = pb.ClusterResourceState(node_states=[pb.NodeState(ray_node_type_name=name)])
        reply = pb.GetClusterStatusReply(cluster_resource_state=nodes)
        assert from_message(reply.SerializeToString()) == Growth({}, is_there)
