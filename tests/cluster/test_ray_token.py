"""Ray asks for its token: who has it works, and who does not is refused."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import httpx

from tests.cluster.conftest import Service

DRIVER = """
import ray, raytasks
ray.init(address="auto", log_to_driver=False)
print("words:", ray.get(raytasks.submit("text_processing", {"text": "one two"}).ref)["word_count"])
"""


def start(service: Service, home: Path, *command: str, **more: str) -> "subprocess.Popen[str]":
    """Run Python as somebody else on this machine would: at home in a folder of their own.

    Ray finds this cluster by itself there, whatever others run beside it.
    """
    hidden = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_TOKEN", "RAY_ADDRESS")
    kept = {name: value for name, value in service.environment.items() if name not in hidden}
    (home / "ray").mkdir(exist_ok=True)
    (home / "ray" / "ray_current_cluster").write_text(service.ray_address)
    kept["RAY_TMPDIR"] = str(home)
    return subprocess.Popen(
        [sys.executable, *command],
        env={**kept, "HOME": str(home), "PYTHONPATH": os.getcwd(), **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def token_of(service: Service) -> Path:
    """Return the file with the token that the service has made."""
    return Path(service.environment["RAY_AUTH_TOKEN_PATH"])


def test_the_token_was_made_for_its_owner_alone(service: Service) -> None:
    file = token_of(service)
    assert len(file.read_text()) == 64
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert str(file) in service.log.read_text()
    assert file.read_text() not in service.log.read_text()


def test_a_plain_driver_with_the_token_works(service: Service, tmp_path: Path) -> None:
    folder = tmp_path / ".ray"
    folder.mkdir()
    (folder / "auth_token").write_text(token_of(service).read_text())
    driver = start(service, tmp_path, "-c", DRIVER)
    said, complained = driver.communicate(timeout=100)
    assert driver.returncode == 0, complained
    assert "words: 2" in said.splitlines()  # Ray may tell of nodes that went


def test_without_it_all_are_refused(service: Service, tmp_path: Path) -> None:
    """At the same time: Ray tries each for some 20 seconds."""
    address = f"--address={service.ray_address}"
    wrong = {"RAY_AUTH_TOKEN": "0" * 64}
    driver = start(service, tmp_path, "-c", DRIVER)
    worker = start(service, tmp_path, "-m", "raytasks", "worker", address)
    command = start(service, tmp_path, "-m", "raytasks", "resume", address, **wrong)
    _, complained = driver.communicate(timeout=100)
    assert driver.returncode != 0
    assert "AuthenticationError" in complained
    for ours in (worker, command):
        _, complained = ours.communicate(timeout=100)
        assert ours.returncode == 2
        line = complained.strip().splitlines()[-1]
        assert line.startswith("error: ")
        assert "token" in line
        assert ".ray/auth_token" in line
    assert service.http.get("/health").json()["ray"]["nodes"] == 1


def test_the_dashboard_asks_for_it_and_is_on_loopback_only(service: Service) -> None:
    url = service.log.read_text().partition("Ray dashboard:")[2].split()[0]
    assert url.startswith("http://127.0.0.1:")
    bearer = {"Authorization": f"Bearer {token_of(service).read_text()}"}
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        assert client.get("/api/v0/actors").status_code == 401
        assert client.get("/api/v0/actors", headers=bearer).status_code == 200
