"""JSON Schemas that say what a document may have, and nothing else: for files of other programs."""

import importlib.resources
import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from raytasks.cli import app as commands

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

CRDS = Path(os.environ.get("KUBERAY_CRDS") or ROOT.parent / "shared" / "kuberay")
"""The folder with KubeRay's resource definitions. They are too large for this repository: the
directory `helm-chart/kuberay-operator/crds` of KubeRay has them."""


def documents(file: Path) -> list[dict[str, Any]]:
    """Return the documents of a YAML file."""
    return [item for item in yaml.safe_load_all(file.read_text()) if item]


def problems(document: Any, schema: dict[str, Any]) -> list[str]:
    """Return what is wrong with a document, each with its place."""
    checker = jsonschema.Draft202012Validator(schema)
    found = sorted(checker.iter_errors(document), key=lambda error: error.json_path)
    return [f"{error.json_path}: {error.message[:300]}" for error in found]


def compose_schema() -> dict[str, Any]:
    """Return the schema of the Compose specification, as `check-jsonschema` ships it."""
    files = importlib.resources.files("check_jsonschema.builtin_schemas.vendor")
    found: dict[str, Any] = json.loads((files / "compose-spec.json").read_text(encoding="utf-8"))
    return found


def ray_schema() -> dict[str, Any]:
    """Return Ray's own schema of `cluster.yaml`."""
    file = importlib.resources.files("ray.autoscaler") / "ray-schema.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


@cache
def _definition(file: str, version: str) -> dict[str, Any]:
    # The other loader takes ten times as long for such a file.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    definition = yaml.load((CRDS / file).read_text(), loader)
    [found] = (item for item in definition["spec"]["versions"] if item["name"] == version)
    assert isinstance(found, dict)
    return found


def crd_subresources(file: str, version: str = "v1") -> set[str]:
    """Return the names of a custom resource's parts with an API of their own, such as `status`."""
    return set(_definition(file, version)["subresources"])


@cache
def crd_schema(file: str, version: str = "v1") -> dict[str, Any]:
    """Return the strict schema of a custom resource: unknown fields are wrong."""
    schema: dict[str, Any] = _definition(file, version)["schema"]["openAPIV3Schema"]
    for part in _parts(schema):
        keeps = part.get("x-kubernetes-preserve-unknown-fields")
        if "properties" in part and not keeps:
            part.setdefault("additionalProperties", False)
    # The definition only says that it is an object.
    schema["properties"]["metadata"] = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string"},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        "additionalProperties": False,
    }
    return schema


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from _parts(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _parts(value)


SERVICE_MONITOR: dict[str, Any] = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "monitoring.coreos.com/v1"},
        "kind": {"const": "ServiceMonitor"},
        "metadata": {"type": "object"},
        "spec": {
            "type": "object",
            "required": ["selector", "endpoints"],
            "additionalProperties": False,
            "properties": {
                "jobLabel": {"type": "string"},
                "selector": {
                    "type": "object",
                    "required": ["matchLabels"],
                    "additionalProperties": False,
                    "properties": {
                        "matchLabels": {
                            "type": "object",
                            "additionalProperties": {"type": "string"},
                        }
                    },
                },
                "endpoints": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "port": {"type": "string"},
                            "path": {"type": "string"},
                            "honorLabels": {"type": "boolean"},
                            "interval": {"type": "string", "pattern": r"^\d+(ms|s|m)$"},
                            "relabelings": {
                                "type": "array",
                                "items": {
                                    "type": "object",
                                    "additionalProperties": False,
                                    "properties": {
                                        "sourceLabels": {
                                            "type": "array",
                                            "items": {
                                                "type": "string",
                                                "pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$",
                                            },
                                        },
                                        "separator": {"type": "string"},
                                        "targetLabel": {"type": "string"},
                                        "regex": {"type": "string"},
                                        "replacement": {"type": "string"},
                                        "action": {"enum": ["replace", "labeldrop"]},
                                    },
                                },
                            },
                            "authorization": {
                                "type": "object",
                                "additionalProperties": False,
                                "properties": {
                                    "type": {"type": "string"},
                                    "credentials": {
                                        "type": "object",
                                        "required": ["key"],
                                        "additionalProperties": False,
                                        "properties": {
                                            "name": {"type": "string"},
                                            "key": {"type": "string"},
                                            "optional": {"type": "boolean"},
                                        },
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}
"""The part of a ServiceMonitor that ours has. It is written by hand, after the definition of the
Prometheus operator (`monitoring.coreos.com_servicemonitors.yaml`, v0.80): no package has that."""


def command_names() -> set[str]:
    """Return the commands of `raytasks`."""
    items = commands.registered_commands
    return {item.callback.__name__ for item in items if item.callback is not None}
