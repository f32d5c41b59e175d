"""Files that start the service on machines: units of systemd, `cluster.yaml`, Compose."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from raytasks.settings import PREFIX, Settings
from tests.deploy.dockerfile import DOCKERFILE, stages
from tests.deploy.schemas import (
    DEPLOY,
    ROOT,
    command_names,
    compose_schema,
    documents,
    problems,
    ray_schema,
)
from tests.docs.blocks import DOCUMENTS, blocks_of

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMPOSE = DEPLOY / "compose.yaml"
TARGETS = {"static_configs": [{"targets": ["head:8000"]}]}


def compose() -> dict[str, Any]:
    [found] = documents(COMPOSE)
    return found


def known_settings(names: list[str]) -> bool:
    ours = {name.removeprefix(PREFIX).lower() for name in names if name.startswith(PREFIX)}
    return ours <= set(Settings.model_fields)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_a_unit(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text().replace(
        "/srv/raytasks/.venv/bin/raytasks", str(Path(sys.executable).with_name("raytasks"))
    )
    good, bad = tmp_path / unit.name, tmp_path / "broken.service"
    good.write_text(text)
    bad.write_text(text.replace("RestartSec=", "RestartSecs="))

    def said(file: Path) -> str:
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", file],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout + done.stderr

    assert said(good) == ""
    assert "RestartSecs" in said(bad)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_a_command_with_its_variables(unit: Path) -> None:
    text = unit.read_text()
    command = re.search(r"^ExecStart=\S+/raytasks (\w+) (.*)$", text, re.MULTILINE)
    assert command is not None
    assert command[1] in command_names()
    file = re.search(r"^EnvironmentFile=/etc/raytasks/(\S+)$", text, re.MULTILINE)
    assert file is not None
    names = [
        line.partition("=")[0]
        for line in (DEPLOY / "systemd" / file[1]).read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert known_settings(names)
    assert "RAY_AUTH_TOKEN" in names
    assert set(re.findall(r"\$\{(\w+)\}", command[2])) <= set(names)


def test_a_service_that_is_told_to_end_stays_down() -> None:
    """`up` ends with 0 after `raytasks down`: `tests/cluster/test_own_ray.py`."""
    text = (DEPLOY / "systemd" / "raytasks.service").read_text()
    assert re.findall(r"^Restart=(.*)$", text, re.MULTILINE) == ["on-failure"]


def test_ray_takes_cluster_yaml() -> None:
    config = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    assert problems(config, ray_schema()) == []
    assert problems({**config, "max_wrkers": 2}, ray_schema()) != []
    for part in ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands"):
        for command in config[part]:
            subprocess.run(["bash", "-n", "-c", command], check=True)
    for part in ("head_start_ray_commands", "worker_start_ray_commands"):
        starts = [line for line in config[part] if "ray start" in line]
        assert all("raytasks env" in line for line in starts)


def test_compose_has_no_unknown_field() -> None:
    assert problems(compose(), compose_schema()) == []
    broken = compose()
    broken["services"]["head"]["prots"] = []
    assert any("prots" in line for line in problems(broken, compose_schema()))


def test_compose_asks_for_what_its_example_names() -> None:
    asked = set(re.findall(r"\$\{(\w+):\?\}", COMPOSE.read_text()))
    asked |= {item["environment"] for item in compose()["secrets"].values()}
    example = (DEPLOY / "compose" / "example.env").read_text()
    given = set(re.findall(r"^(\w+)=$", example, re.MULTILINE))
    assert asked == given


def test_the_files_and_volumes_of_compose_are_there() -> None:
    config = compose()
    for service in config["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), source
            else:
                assert source in config["volumes"]
        if "build" in service:
            assert (
                DEPLOY / service["build"]["context"] / "deploy/Dockerfile"
                == DEPLOY / ".." / (service["build"]["dockerfile"])
            )
            assert known_settings(list(service["environment"]))
    assert (DEPLOY / ".." / "deploy" / "Dockerfile").samefile(DOCKERFILE)


def test_a_worker_of_compose_knows_no_secret_but_the_token() -> None:
    services = compose()["services"]
    for name in ("worker-1", "worker-2"):
        assert set(services[name]["environment"]) == {"RAY_AUTH_TOKEN"}
    # The head listens for everybody in its network, and the world sees loopback.
    assert services["head"]["ports"] == ["127.0.0.1:8000:8000"]
    assert services["head"]["image"] == services["worker-1"]["image"]
    assert "command" not in services["head"]  # it is the image's own
    assert stages(DOCKERFILE.read_text())[-1].last("CMD")


def test_docker_gives_the_head_time_to_stop() -> None:
    """Docker's own ten seconds are those of the tasks alone: Ray would be killed."""
    needed = Settings.model_fields["stop_grace_seconds"].default + 30
    by_compose = compose()["services"]["head"]["stop_grace_period"]
    assert int(by_compose.removesuffix("s")) >= needed
    runs = [
        block.code
        for document in DOCUMENTS
        for block in blocks_of(document)
        if "docker run" in block.code
    ]
    assert runs
    for code in runs:
        assert f"--stop-timeout {by_compose.removesuffix('s')} " in code


def test_its_prometheus_is_ours_at_another_address() -> None:
    ours = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    theirs = yaml.safe_load((DEPLOY / "compose" / "prometheus.yml").read_text())
    [job] = ours["scrape_configs"]
    job |= TARGETS
    job["authorization"]["credentials_file"] = "/run/secrets/metrics_key"
    assert theirs == ours
    assert "metrics_key" in compose()["services"]["prometheus"]["secrets"]


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    folder = DEPLOY / "grafana" / "provisioning"
    [source] = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    name, _, port = source["url"].removeprefix("http://").partition(":")
    assert compose()["services"][name]["ports"] == [f"127.0.0.1:{port}:{port}"]
    [provider] = yaml.safe_load((folder / "dashboards" / "raytasks.yml").read_text())["providers"]
    mounted = [volume.split(":")[1] for volume in compose()["services"]["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/raytasks.json" in mounted


def section(page: str, heading: str) -> str:
    """Return the text below a heading of a document, down to the next heading."""
    _, _, rest = (ROOT / "docs" / page).read_text().partition(f"\n{heading}\n")
    return re.split(r"^#{1,3} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def test_the_stop_of_each_supervisor_is_in_the_documents() -> None:
    """Docker and Kubernetes start the service again after `raytasks down`."""
    stops = section("operation.md", "### Stop the service")
    for unit in UNITS:
        assert f"`systemctl stop {unit.stem}`" in stops
    ours = [name for name, service in compose()["services"].items() if "build" in service]
    assert all(compose()["services"][name]["restart"] == "unless-stopped" for name in ours)
    assert f"`docker compose --file deploy/compose.yaml stop {' '.join(ours)}`" in stops
    for kind in ("raycluster", "rayservice"):
        [name] = (
            item["metadata"]["name"]
            for item in documents(DEPLOY / "kuberay" / f"{kind}.yaml")
            if item["kind"].lower() == kind
        )
        patch = '{"spec":{"suspend":true}}'
        assert f"`kubectl patch {kind} {name} --type merge --patch '{patch}'`" in stops


@pytest.mark.parametrize(
    ("page", "heading"),
    [
        ("operation.md", "## Backup"),
        ("operation.md", "## Upgrade and rollback"),
        ("operation.md", "## What runs"),
        ("upgrading.md", "## Stop the service"),
        ("upgrading.md", "## Go back"),
        ("database.md", "## Back up and restore"),
        ("client.md", "## The command line"),
    ],
)
def test_who_tells_to_stop_says_how_supervisors_do(page: str, heading: str) -> None:
    assert re.search(r"\]\((operation\.md)?#stop-the-service\)", section(page, heading))
