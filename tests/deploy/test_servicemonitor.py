"""The ServiceMonitors for KubeRay: what Prometheus scrapes by them, with several pods behind one.

The Prometheus operator makes a job of each. Here its rules are played, and Prometheus is real.
"""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.deploy.manifests import CLUSTER, KUBERAY, SERVICE, container, custom, pods
from tests.deploy.schemas import documents
from tests.deploy.test_monitoring import found, needs_prometheus, promtool, rules, running

_WAIT_SECONDS = 30
_JOB = "serviceMonitor"
_SERVE_PORT = "serve"
"""How KubeRay names the port of a RayService's Service: `ServingPortName`."""

MONITORS = {item["metadata"]["name"]: item for item in documents(KUBERAY / "servicemonitor.yaml")}
OF_CLUSTER, OF_SERVICE = "raytasks", "raytasks-serve"


def service_of_cluster() -> dict[str, Any]:
    """Return the Service of `raycluster.yaml`."""
    [found] = (item for item in documents(CLUSTER) if item["kind"] == "Service")
    return found


def serve_service() -> dict[str, Any]:
    """Return the Service that KubeRay makes for `rayservice.yaml` (`BuildServeService`)."""
    name = custom(SERVICE)["metadata"]["name"]
    labels = {
        "ray.io/originated-from-cr-name": name,
        "ray.io/originated-from-crd": "RayService",
        "ray.io/serve": f"{name}-serve",
    }
    [port] = (
        item["containerPort"]
        for item in container(pods(custom(SERVICE))["head"])["ports"]
        if item["name"] == _SERVE_PORT
    )
    return {
        "metadata": {"name": f"{name}-serve-svc", "labels": labels},
        "spec": {"ports": [{"name": _SERVE_PORT, "port": port}]},
    }


SERVICES = {OF_CLUSTER: service_of_cluster(), OF_SERVICE: serve_service()}


def scrape_config(monitor: dict[str, Any], service: dict[str, Any]) -> dict[str, Any]:
    """Return the job that the operator makes of a monitor, for a Service with three pods."""
    name, labels = service["metadata"]["name"], service["metadata"]["labels"]
    [endpoint] = monitor["spec"]["endpoints"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    [port] = (item for item in service["spec"]["ports"] if item["name"] == endpoint["port"])
    pods_behind = [
        {
            "targets": [f"10.0.0.{number}:8000"],
            "labels": {
                "__meta_kubernetes_namespace": "jobs",
                "__meta_kubernetes_service_name": name,
                "__meta_kubernetes_pod_name": f"pod-{number}",
                "__meta_kubernetes_pod_container_name": "head" if number == 1 else "worker",
                "__meta_kubernetes_endpoint_port_name": port["name"],
                "__meta_kubernetes_endpoint_node_name": f"node-{number}",
            },
        }
        for number in (1, 2, 3)
    ]
    by_operator = {
        "namespace": "namespace",
        "service": "service_name",
        "pod": "pod_name",
        "container": "pod_container_name",
        "endpoint": "endpoint_port_name",
        "node": "endpoint_node_name",
        "job": "service_name",
    }
    relabelings = [
        {"source_labels": [f"__meta_kubernetes_{source}"], "target_label": target}
        for target, source in by_operator.items()
    ]
    if key := monitor["spec"].get("jobLabel"):
        relabelings.append({"target_label": "job", "replacement": labels[key]})
    own = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    relabelings += [
        {own.get(field, field): value for field, value in item.items()}
        for item in endpoint.get("relabelings", ())
    ]
    return {
        "job_name": _JOB,
        "metrics_path": endpoint["path"],
        "honor_labels": endpoint.get("honorLabels", False),
        "static_configs": pods_behind,
        "relabel_configs": relabelings,
    }


def config_of(name: str) -> str:
    config = {"scrape_configs": [scrape_config(MONITORS[name], SERVICES[name])]}
    text: str = yaml.safe_dump(config)
    return text


@contextlib.contextmanager
def answering(text: str) -> Iterator[str]:
    """Serve a text at each path; give the address."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@needs_prometheus
@pytest.mark.parametrize("name", SERVICES)
def test_all_pods_are_one_target_with_the_job_of_the_alerts(name: str, tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text(config_of(name))
    asked = ("check", "service-discovery", "--timeout=1s", "prometheus.yml", _JOB)
    said = promtool(*asked, folder=tmp_path)
    first, *others = [target["labels"] for target in json.loads(said)]
    assert all(labels == first for labels in others)
    [absent] = (rule["expr"] for rule in rules() if rule["alert"] == "RaytasksNotScraped")
    assert f'up{{job="{first["job"]}"}}' in absent
    [port] = SERVICES[name]["spec"]["ports"]
    address = f"{SERVICES[name]['metadata']['name']}.jobs.svc:{port['port']}"
    assert (first["__address__"], first["instance"]) == (address, address)


@needs_prometheus
@pytest.mark.parametrize("name", SERVICES)
def test_prometheus_scrapes_it_once(name: str, tmp_path: Path) -> None:
    """Else sums over pods that answer the same would count all several times."""
    (tmp_path / "prometheus.yml").write_text(config_of(name))
    with running(tmp_path) as prometheus:
        deadline = time.monotonic() + _WAIT_SECONDS
        targets: list[Any] = []
        while not targets:
            assert time.monotonic() < deadline
            time.sleep(0.1)
            with contextlib.suppress(httpx.TransportError):  # it is starting
                answer = prometheus.get("/api/v1/targets")
                targets = answer.json()["data"]["activeTargets"] if answer.is_success else []
    assert len(targets) == 1


@needs_prometheus
@pytest.mark.parametrize("name", SERVICES)
def test_the_namespace_of_a_task_is_not_that_of_kubernetes(name: str, tmp_path: Path) -> None:
    with answering('raytasks_tasks{namespace="team-a"} 7\n') as address:
        config = scrape_config(MONITORS[name], SERVICES[name])
        config["relabel_configs"].append({"target_label": "__address__", "replacement": address})
        whole = {"global": {"scrape_interval": "1s"}, "scrape_configs": [config]}
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(whole))
        with running(tmp_path) as prometheus:
            deadline = time.monotonic() + _WAIT_SECONDS
            while not (series := found(prometheus, "raytasks_tasks")):
                assert time.monotonic() < deadline
                time.sleep(0.1)
    [one] = series
    assert one["metric"]["namespace"] == "team-a"
    assert one["value"][1] == "7"


def test_each_monitor_selects_one_kind_alone() -> None:
    chosen = {}
    for name, monitor in MONITORS.items():
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        labels = {kind: service["metadata"]["labels"] for kind, service in SERVICES.items()}
        chosen[name] = [kind for kind, found in labels.items() if wanted <= found.items()]
    assert chosen == {name: [name] for name in SERVICES}
