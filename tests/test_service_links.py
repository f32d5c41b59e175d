"""Kubernetes' variables for the Services of a namespace, which may begin as our settings do."""

from pathlib import Path

import pytest

from raytasks.settings import Settings, SettingsError, load_settings

# As the kubelet sets them for the Services of `deploy/kuberay/`.
LINKS = {
    "RAYTASKS_SERVICE_HOST": "10.96.7.7",
    "RAYTASKS_SERVICE_PORT": "80",
    "RAYTASKS_SERVICE_PORT_HTTP": "80",
    "RAYTASKS_PORT": "tcp://10.96.7.7:80",
    "RAYTASKS_PORT_80_TCP": "tcp://10.96.7.7:80",
    "RAYTASKS_PORT_80_TCP_PROTO": "tcp",
    "RAYTASKS_PORT_80_TCP_PORT": "80",
    "RAYTASKS_PORT_80_TCP_ADDR": "10.96.7.7",
    "RAYTASKS_SERVE_SVC_SERVICE_HOST": "10.96.7.8",
    "RAYTASKS_SERVE_SVC_SERVICE_PORT": "8000",
    "RAYTASKS_SERVE_SVC_PORT": "udp://10.96.7.8:8000",
    "RAYTASKS_SERVE_SVC_PORT_8000_UDP": "udp://10.96.7.8:8000",
    "RAYTASKS_SERVE_SVC_PORT_8000_UDP_ADDR": "10.96.7.8",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, in a pod that has the links."""
    monkeypatch.chdir(tmp_path)
    for name, value in LINKS.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def test_they_are_no_settings() -> None:
    assert load_settings() == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RAYTASKS_LISTENPORT", "8001"),
        ("RAYTASKS_LISTEN_PORTS", "8001"),
        ("RAYTASKS_SERVICE", "x"),
        ("RAYTASKS_PORT_80", "x"),
        ("RAYTASKS_PORT_80_TCP_HOST", "x"),
        ("RAYTASKS_LISTENS_PORT", "tcp://10.96.7.9:80"),  # a Service that there is not
        ("RAYTASKS_SERVE_PORT", "tcp://10.96.7.9:80"),
        ("RAYTASKS_REDIS_SERVICE_HOST", "10.96.7.9"),  # Kubernetes sets its port, too
    ],
)
def test_a_typo_beside_them_is_told(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{name}: there is no such setting"):
        load_settings()


def test_a_port_of_a_persons_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYTASKS_PORT", "8000")
    with pytest.raises(SettingsError, match="RAYTASKS_PORT: there is no such"):
        load_settings()


def test_the_file_has_none(folder: Path) -> None:
    (folder / ".env").write_text("RAYTASKS_SERVICE_HOST=h\n")
    with pytest.raises(SettingsError, match="RAYTASKS_SERVICE_HOST: there is no such"):
        load_settings()


def test_without_a_service_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAYTASKS_SERVICE_HOST")
    with pytest.raises(SettingsError, match="RAYTASKS_PORT: there is no such setting"):
        load_settings()


@pytest.mark.parametrize("service", ["LISTEN", "RAYTASKS_LISTEN"])
def test_one_that_has_the_name_of_a_setting_is_not_its_value(
    monkeypatch: pytest.MonkeyPatch, folder: Path, service: str
) -> None:
    monkeypatch.setenv(f"{service}_SERVICE_HOST", "10.96.7.9")
    monkeypatch.setenv(f"{service}_SERVICE_PORT", "8001")
    monkeypatch.setenv(f"{service}_PORT", "tcp://10.96.7.9:8001")
    assert load_settings().listen_port is None
    (folder / ".env").write_text("RAYTASKS_LISTEN_PORT=8002\n")
    assert load_settings().listen_port == 8002
