"""A Ray cluster whose autoscaler adds nodes on this machine: Ray's fake multi-node provider."""

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ray.autoscaler._private.fake_multi_node.node_provider import (
    FAKE_HEAD_NODE_ID,
    FakeMultiNodeProvider,
)
from ray.util import get_node_ip_address

from tests.cluster.head_of_others import head_of_others
from tests.ports import quiet_port

IDLE_SECONDS = 8.0
"""How long a node is idle before the autoscaler ends it."""

NODE_TYPES = {
    "cpu": {"resources": {"CPU": 2}, "min_workers": 0, "max_workers": 3},
    "gpu": {"resources": {"CPU": 1, "GPU": 1}, "min_workers": 0, "max_workers": 1},
}
"""The types of nodes that it adds: Ray does not look for a real GPU."""

_HEAD = "ray.head.default"
_STORE_BYTES = 80_000_000
_NO_STEPS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
    "cluster_synced_files",
    "rsync_exclude",
    "rsync_filter",
)


def autoscaling_config(gcs_address: str, *, v2: bool) -> dict[str, Any]:
    """Return the file of `ray up` for such a cluster. The head has one processor."""
    nodes = {
        name: {
            **kind,
            "resources": {**kind["resources"], "object_store_memory": _STORE_BYTES},  # type: ignore[dict-item]
            "node_config": {},
        }
        for name, kind in NODE_TYPES.items()
    }
    provider = {
        # By its own name, it needs a file of defaults that Ray's wheel lacks.
        "type": "external",
        "module": f"{FakeMultiNodeProvider.__module__}.{FakeMultiNodeProvider.__name__}",
        "use_node_id_as_ip": True,  # all nodes have one address
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
        "gcs_address": gcs_address,
    }
    if v2:
        provider |= {"launch_multiple": True, "head_node_id": FAKE_HEAD_NODE_ID}
    head = {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0}
    return {
        "cluster_name": "fake",
        "max_workers": 8,
        "upscaling_speed": 10.0,
        "idle_timeout_minutes": IDLE_SECONDS / 60,
        "provider": provider,
        "auth": {},
        "available_node_types": {**nodes, _HEAD: head},
        "head_node_type": _HEAD,
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        **{name: [] for name in _NO_STEPS},
    }


@contextlib.contextmanager
def autoscaling_ray(folder: Path, environment: Mapping[str, str], *, v2: bool) -> Iterator[str]:
    """Start a head whose autoscaler adds nodes; the address of the cluster is what it gives."""
    port = quiet_port()
    config = folder / "autoscaling.json"
    config.write_text(json.dumps(autoscaling_config(f"{get_node_ip_address()}:{port}", v2=v2)))
    variables = {
        **environment,
        "RAY_AUTH_MODE": "token",
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "AUTOSCALER_METRIC_PORT": str(quiet_port()),
        "RAY_enable_autoscaler_v2": "1" if v2 else "0",
    }
    if v2:
        variables["RAY_CLOUD_INSTANCE_ID"] = FAKE_HEAD_NODE_ID
        variables["RAY_OVERRIDE_NODE_ID_FOR_TESTING"] = FAKE_HEAD_NODE_ID
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    command += [f"--port={port}", f"--autoscaling-config={config}", "--num-cpus=1"]
    command += [f"--object-store-memory={_STORE_BYTES}", "--include-dashboard=false"]
    command += ["--min-worker-port=0", "--max-worker-port=0"]
    command += [f"--ray-client-server-port={quiet_port()}"]
    command += [f"--dashboard-agent-listen-port={quiet_port()}"]
    with head_of_others(command, folder / "ray.log", variables) as address:
        yield address
