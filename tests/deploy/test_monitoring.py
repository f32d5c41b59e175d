"""Dashboard and alerts: they parse, and find their series in a service that has done some work."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deploy.grafana.make_dashboard import FILE, QUESTIONS, dashboard, text
from tests.keyring import API_KEYS, KEYS, bearer
from tests.local_service import LocalService, served
from tests.ports import quiet_port

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
_WAIT_SECONDS = 60

needs_prometheus = pytest.mark.skipif(
    shutil.which("promtool") is None or shutil.which("prometheus") is None,
    reason="there is no Prometheus here: apt-get install prometheus",
)


def promtool(*arguments: str, folder: Path = PROMETHEUS) -> str:
    """Run promtool, and return what it prints."""
    done = subprocess.run(
        ["promtool", *arguments],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def of_dashboard() -> list[str]:
    """Return the dashboard's expressions, as Grafana would send them."""
    values = {"$job": "raytasks", "$namespace": ".*", "$task_type": ".*", "$__rate_interval": "1m"}
    found = []
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            expr = target["expr"]
            for name, value in values.items():
                expr = expr.replace(name, value)
            assert "$" not in expr
            found.append(expr)
    return found


def of_alerts() -> list[str]:
    """Return the selectors of the alerts: an alert itself has no series while all is well."""
    found = set()
    for rule in rules():
        expr = re.sub(r"absent\([^)]*\)", "", rule["expr"])
        found |= set(re.findall(r"(?:raytasks_\w+|\bup\b)(?:\{[^}]*\})?", expr))
    return sorted(found)


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_file_of_the_dashboard_is_up_to_date() -> None:
    assert FILE.read_text() == text(), "run: python -m deploy.grafana.make_dashboard"


def test_the_dashboard_answers_the_questions_of_the_document() -> None:
    document = (ROOT / "docs" / "metrics.md").read_text()
    for question in QUESTIONS:
        assert question.partition(". ")[2] in document, question


def test_the_document_names_every_metric_that_is_used() -> None:
    document = (ROOT / "docs" / "metrics.md").read_text()
    for expr in [*of_dashboard(), *of_alerts()]:
        for name in re.findall(r"raytasks_\w+", expr):
            assert re.sub(r"_(bucket|sum|count)$", "", name) in document, name


def test_each_alert_is_in_the_documents() -> None:
    """One says when it fires, the other one what to do then, in the same order."""
    alerts = [rule["alert"] for rule in rules()]
    assert len(alerts) == 10
    for name in ("metrics.md", "operation.md"):
        document = (ROOT / "docs" / name).read_text()
        assert re.findall(r"^\| `(Raytasks\w+)` \|", document, re.MULTILINE) == alerts, name


@needs_prometheus
def test_the_alerts_do_what_their_tests_say() -> None:
    promtool("test", "rules", "alerts_test.yml")


@needs_prometheus
def test_what_is_given_can_be_used(tmp_path: Path) -> None:
    for name in ("prometheus.yml", "alerts.yml"):
        shutil.copy(PROMETHEUS / name, tmp_path)
    (tmp_path / "raytasks-key").write_text("key")
    promtool("check", "config", "prometheus.yml", folder=tmp_path)
    wrapped = [
        {"record": f"test:{number}", "expr": expr} for number, expr in enumerate(of_dashboard())
    ]
    file = {"groups": [{"name": "dashboard", "rules": wrapped}]}
    (tmp_path / "dashboard.yml").write_text(yaml.safe_dump(file))
    promtool("check", "rules", "dashboard.yml", folder=tmp_path)


@contextmanager
def watched(url: str, folder: Path) -> Iterator[httpx.Client]:
    """Run Prometheus on the service at a URL, with our own configuration; give a client of it."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"] = [{"targets": [url.partition("//")[2]]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    shutil.copy(PROMETHEUS / "alerts.yml", folder)
    (folder / "raytasks-key").write_text(KEYS["r"])
    with running(folder) as client:
        yield client


@contextmanager
def running(folder: Path) -> Iterator[httpx.Client]:
    """Run Prometheus with the configuration in a folder; give a client of it."""
    address = f"127.0.0.1:{quiet_port()}"
    command = [
        "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={address}",
    ]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://{address}", trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        process.wait(20)


def found(prometheus: httpx.Client, expr: str) -> list[Any]:
    """Return the series that an expression has now."""
    try:
        answer = prometheus.get("/api/v1/query", params={"query": expr})
    except httpx.TransportError:
        return []  # it is starting
    if answer.status_code == 503:
        return []
    assert answer.status_code == 200, answer.text
    series: list[Any] = answer.json()["data"]["result"]
    return series


@needs_prometheus
def test_every_expression_finds_its_series(sqlite_url: str, tmp_path: Path) -> None:
    service = LocalService(sqlite_url, tmp_path, api_keys=API_KEYS, secret_key="own")
    with served(service) as url, httpx.Client(base_url=url, headers=bearer("a")) as client:
        for payload in ({}, {"step": "permanent"}):
            task = client.post("/tasks/", json={"task_type": "scripted", "payload": payload})
            assert task.status_code == 202, task.text
            client.get(f"/tasks/{task.json()['task_id']}", params={"wait": 20})
        with watched(url, tmp_path) as prometheus:
            missing = [*of_dashboard(), *of_alerts()]
            assert len(missing) > 40
            deadline = time.monotonic() + _WAIT_SECONDS
            while missing and time.monotonic() < deadline:
                client.post("/tasks/", json={"task_type": "scripted", "payload": {}})
                time.sleep(0.5)
                missing = [expr for expr in missing if not found(prometheus, expr)]
            assert not missing, missing
            assert found(prometheus, 'ALERTS{alertstate="firing"}') == []
