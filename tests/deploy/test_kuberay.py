"""The manifests for KubeRay: no unknown field, no wrong type, and what they say fits together."""

import copy
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from raytasks.api_keys import parse_keys
from raytasks.settings import PREFIX, Settings
from tests.deploy.dockerfile import DOCKERFILE, stages
from tests.deploy.manifests import (
    CLUSTER,
    DEFINED,
    KUBERAY,
    SERVICE,
    container,
    custom,
    pods,
    ray_cluster,
    variables,
)
from tests.deploy.schemas import (
    CRDS,
    DEPLOY,
    SERVICE_MONITOR,
    crd_schema,
    crd_subresources,
    documents,
    problems,
)

KUBERNETES = "1.33"

needs_crds = pytest.mark.skipif(
    not all((CRDS / name).exists() for name in DEFINED.values()),
    reason="KubeRay's resource definitions are not here; say where they are with KUBERAY_CRDS",
)


def manifests() -> list[tuple[str, dict[str, Any]]]:
    files = (file for file in sorted(KUBERAY.glob("*.yaml")) if file.stem != "redis-patch")
    return [(file.name, document) for file in files for document in documents(file)]


def merged(document: Any, patch: Any) -> Any:
    """Return a document after a JSON merge patch (RFC 7396), which `kubectl patch` applies."""
    if not isinstance(patch, dict):
        return patch
    result = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def with_redis() -> dict[str, Any]:
    [patch] = documents(KUBERAY / "redis-patch.yaml")
    found: dict[str, Any] = merged(custom(), patch)
    return found


@needs_crds
@pytest.mark.parametrize("document", [custom(CLUSTER), custom(SERVICE), with_redis()])
def test_a_custom_resource_has_no_unknown_field(document: dict[str, Any]) -> None:
    assert problems(document, crd_schema(DEFINED[document["kind"]])) == []


@needs_crds
@pytest.mark.parametrize("file", [CLUSTER, SERVICE])
def test_a_typo_or_a_wrong_type_is_found(file: Path) -> None:
    document = custom(file)
    schema = crd_schema(DEFINED[document["kind"]])
    typo = copy.deepcopy(document)
    ray_cluster(typo)["authOptionz"] = ray_cluster(typo).pop("authOptions")
    assert any("'authOptionz' was unexpected" in line for line in problems(typo, schema))
    deep = copy.deepcopy(document)
    container(pods(deep)["worker"])["readinessProb"] = {}
    assert any("readinessProb" in line for line in problems(deep, schema))
    wrong = copy.deepcopy(document)
    ray_cluster(wrong)["gcsFaultToleranceOptions"]["backend"] = "sqlite"
    assert any("'sqlite' is not one of" in line for line in problems(wrong, schema))


@pytest.mark.parametrize(("file", "document"), manifests())
def test_the_kinds_of_kubernetes_are_right(file: str, document: dict[str, Any]) -> None:
    if document["kind"] in DEFINED:
        # The definitions stand for themselves; the pods are Kubernetes' own.
        for pod in pods(document).values():
            whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, **pod}
            kubernetes_validate.validate(whole, KUBERNETES, strict=True)
    elif document["kind"] == "ServiceMonitor":
        assert problems(document, SERVICE_MONITOR) == [], file
    else:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def blocks_evictions(budget: dict[str, Any]) -> bool:
    """Return whether a PodDisruptionBudget of pods that Ray's resources own lets none be evicted.

    Kubernetes takes a share or `maxUnavailable` of what the owner's scale says. A RayCluster and a
    RayService have no scale, so it allows no eviction then: for ever.
    """
    spec = budget["spec"]
    of_ray = any(
        spec["selector"].get("matchLabels", {}).items()
        <= {**pod["metadata"]["labels"], "ray.io/node-type": role}.items()
        for file in (CLUSTER, SERVICE)
        for role, pod in pods(custom(file)).items()
    )
    return of_ray and ("maxUnavailable" in spec or not isinstance(spec["minAvailable"], int))


def test_no_budget_blocks_evictions() -> None:
    for file, document in manifests():
        if document["kind"] == "PodDisruptionBudget":
            assert not blocks_evictions(document), file


@needs_crds
def test_kuberays_kinds_have_no_scale() -> None:
    for file in DEFINED.values():
        assert "scale" not in crd_subresources(file)


@pytest.mark.parametrize(
    ("spec", "blocks"),
    [
        ({"maxUnavailable": 1}, True),
        ({"minAvailable": "50%"}, True),
        ({"minAvailable": 1}, False),
    ],
)
def test_a_budget_that_blocks_is_found(spec: dict[str, Any], blocks: bool) -> None:
    workers = {"app": "raytasks", "ray.io/node-type": "worker"}
    for labels in (workers, {"app": "raytasks"}, {}):
        budget = {"spec": {**spec, "selector": {"matchLabels": labels}}}
        assert blocks_evictions(budget) is blocks
    others = {"spec": {**spec, "selector": {"matchLabels": {"app": "raytasks-redis"}}}}
    assert not blocks_evictions(others)


@pytest.mark.parametrize("file", [CLUSTER, SERVICE])
def test_a_worker_leaves_in_order_before_its_time_is_over(file: Path) -> None:
    """See `tests/hosts/test_leaving.py` for the effect of the command."""
    pod = pods(custom(file))["worker"]
    *command, grace = container(pod)["lifecycle"]["preStop"]["exec"]["command"]
    assert command == ["raytasks", "leave", "--stop-grace"]
    drain = variables(pod)["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"]
    left = pod["spec"]["terminationGracePeriodSeconds"] - float(grace) - float(drain)
    assert float(grace) > 0
    assert left >= 10  # for the end of Ray's processes


@pytest.mark.parametrize(("file", "document"), manifests())
def test_a_pod_gets_no_variables_of_services(file: str, document: dict[str, Any]) -> None:
    """Those of our Services begin as our settings do."""
    if document["kind"] in DEFINED:
        templates = [*pods(document).values()]
    else:
        templates = [document["spec"]["template"]] if "template" in document.get("spec", {}) else []
    for pod in templates:
        assert pod["spec"]["enableServiceLinks"] is False, file


def test_a_typo_in_a_kind_of_kubernetes_is_found() -> None:
    for _, document in manifests():
        if document["kind"] in ("Service", "StatefulSet", "NetworkPolicy"):
            broken = {**document, "spec": {**document["spec"], "prots": []}}
            with pytest.raises(kubernetes_validate.ValidationError, match="prots"):
                kubernetes_validate.validate(broken, KUBERNETES, strict=True)
    for monitor in documents(KUBERAY / "servicemonitor.yaml"):
        monitor["spec"]["endpoints"][0]["pth"] = "/metrics"
        assert any("pth" in line for line in problems(monitor, SERVICE_MONITOR))


# Ray's own models use what pydantic will remove.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_configuration_of_serve_is_that_of_serve_deploy() -> None:
    from ray.serve.schema import ServeDeploySchema

    config = yaml.safe_load(custom(SERVICE)["spec"]["serveConfigV2"])
    ServeDeploySchema.model_validate(config)
    assert config["http_options"]["host"] == "0.0.0.0"  # from everywhere in its pod's network
    ours = yaml.safe_load((DEPLOY / "serve.yaml").read_text())
    ServeDeploySchema.model_validate(ours)
    ours["http_options"]["host"] = "0.0.0.0"
    assert ours == config
    with pytest.raises(ValueError, match="import_pth"):
        ServeDeploySchema.model_validate({"applications": [{"import_pth": "a:b"}]})


@pytest.mark.parametrize("document", [custom(CLUSTER), custom(SERVICE)])
def test_what_it_refers_to_is_there(document: dict[str, Any]) -> None:
    cluster = ray_cluster(document)
    secrets = {item["metadata"]["name"]: item for item in documents(KUBERAY / "secrets.yaml")}
    token = secrets[cluster["authOptions"]["secretName"]]
    assert "auth_token" in token["stringData"]  # the key where KubeRay looks
    [claim] = documents(KUBERAY / "files.yaml")
    for pod in pods(document).values():
        box = container(pod)
        for source in box["envFrom"]:
            names = secrets[source["secretRef"]["name"]]["stringData"]
            assert all(name.removeprefix(PREFIX).lower() in Settings.model_fields for name in names)
        [volume] = pod["spec"]["volumes"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        [mount] = box["volumeMounts"]
        last = stages(DOCKERFILE.read_text())[-1]
        assert mount["mountPath"] == last.environment()["RAYTASKS_ARTIFACTS_URL"]
        assert pod["spec"]["securityContext"]["runAsUser"] == int(last.last("USER").split(":")[0])
    for monitor in documents(KUBERAY / "servicemonitor.yaml"):
        [endpoint] = monitor["spec"]["endpoints"]
        credentials = endpoint["authorization"]["credentials"]
        assert credentials["key"] in secrets[credentials["name"]]["stringData"]


def test_labels_and_ports_meet() -> None:
    [service] = (item for item in documents(CLUSTER) if item["kind"] == "Service")
    [port] = service["spec"]["ports"]
    head = container(pods(custom())["head"])
    named = {item["name"]: item["containerPort"] for item in head["ports"]}
    assert named[port["targetPort"]] == 8000
    monitor, _ = documents(KUBERAY / "servicemonitor.yaml")
    wanted = monitor["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == port["name"]
    policy, redis_policy = documents(KUBERAY / "network.yaml")
    for document in (custom(CLUSTER), custom(SERVICE)):
        for pod in pods(document).values():
            labels = pod["metadata"]["labels"]
            assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    [stateful] = (
        item for item in documents(KUBERAY / "redis.yaml") if item["kind"] == "StatefulSet"
    )
    chosen = redis_policy["spec"]["podSelector"]["matchLabels"]
    assert chosen == stateful["spec"]["template"]["metadata"]["labels"]


def test_only_the_api_is_open_to_everybody() -> None:
    policy, _ = documents(KUBERAY / "network.yaml")
    [everybody] = (rule for rule in policy["spec"]["ingress"] if "from" not in rule)
    assert everybody["ports"] == [{"port": 8000}]


def test_the_probes() -> None:
    head, worker = (container(pods(custom())[role]) for role in ("head", "worker"))
    assert head["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert head["startupProbe"]["httpGet"]["path"] == "/livez"
    assert head["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert head["command"] == ["raytasks-head"]  # which runs the API, so that it becomes ready
    # Else no worker could come while the head is not ready.
    service = ray_cluster(custom())["headGroupSpec"]["headService"]
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert "local_raylet_healthz" in worker["livenessProbe"]["exec"]["command"][-1]
    pair = pods(custom(SERVICE))
    # KubeRay deploys the API to a ready head: /readyz there would wait for itself for ever.
    assert not any("Probe" in name for name in container(pair["head"]))
    assert container(pair["worker"])["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_the_redis_variant_has_nothing_of_rocksdb() -> None:
    options = ray_cluster(with_redis())["gcsFaultToleranceOptions"]
    assert options["backend"] == "redis"
    assert "storage" not in options
    assert "externalStorageNamespace" not in options
    names = {item["metadata"]["name"] for item in documents(KUBERAY / "redis.yaml")}
    assert re.fullmatch(r"redis://([\w-]+):6379", options["redisAddress"])[1] in names  # type: ignore[index]
    assert options["redisPassword"]["valueFrom"]["secretKeyRef"]["name"] in names


def test_the_templates_of_secrets_let_nobody_in() -> None:
    [ours] = (
        item["stringData"]
        for item in documents(KUBERAY / "secrets.yaml")
        if item["metadata"]["name"] == "raytasks"
    )
    with pytest.raises(ValueError, match="raytasks keys new"):
        parse_keys(ours["RAYTASKS_API_KEYS"])
    with pytest.raises(ValueError, match="SECRET_KEY must be set"):
        Settings(_env_file=None, debug=False, secret_key=ours["RAYTASKS_SECRET_KEY"])
