"""The manifests for KubeRay, and the pods in them."""

from pathlib import Path
from typing import Any

from tests.deploy.schemas import DEPLOY, documents

KUBERAY = DEPLOY / "kuberay"
CLUSTER, SERVICE = KUBERAY / "raycluster.yaml", KUBERAY / "rayservice.yaml"
DEFINED = {"RayCluster": "rayclusters.yaml", "RayService": "rayservices.yaml"}
"""The kinds that KubeRay defines, and the files of their definitions."""


def custom(file: Path = CLUSTER) -> dict[str, Any]:
    return next(item for item in documents(file) if item["kind"] in DEFINED)


def ray_cluster(document: dict[str, Any]) -> dict[str, Any]:
    """Return the cluster's specification in a RayCluster or a RayService."""
    spec = document["spec"]
    found: dict[str, Any] = spec.get("rayClusterConfig", spec)
    return found


def pods(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the templates of the pods, by role."""
    cluster = ray_cluster(document)
    [workers] = cluster["workerGroupSpecs"]
    return {"head": cluster["headGroupSpec"]["template"], "worker": workers["template"]}


def container(pod: dict[str, Any]) -> dict[str, Any]:
    [found] = pod["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def variables(pod: dict[str, Any]) -> dict[str, str]:
    """Return the environment variables that a pod's container states itself."""
    return {item["name"]: item["value"] for item in container(pod)["env"]}
