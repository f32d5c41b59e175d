"""The refusals of `raytasks up` before it starts anything."""

import os
import socket
import warnings
from pathlib import Path

import pytest

from raytasks.cli import former_cluster, up
from raytasks.cluster import processes, run_files, runs
from raytasks.cluster.processes import ClusterError
from raytasks.settings import Settings, SettingsError
from raytasks.store.file_lock import locked
from tests.ports import quiet_port

with warnings.catch_warnings():
    # Ray Serve's own, when it is imported.
    warnings.filterwarnings("ignore", "Using extra keyword arguments on `Field`")
    from raytasks.service import Endpoint


def test_a_second_service_on_a_live_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(former_cluster, "_IN_USE_SECONDS", 0.0)
    settings = Settings(database_url=f"sqlite:///{tmp_path}/tasks.db")
    former_cluster.refuse_second(settings)
    with locked(tmp_path / "tasks.db", "process 7 on here"):
        with pytest.raises(SettingsError) as refused:
            former_cluster.refuse_second(settings)
        former_cluster.refuse_second(Settings(database_url="postgresql://u@h/d"))
    assert str(refused.value) == (
        "RAYTASKS_DATABASE_URL: another raytasks service (process 7 on here) uses the file "
        f"{tmp_path}/tasks.db: stop it first ('raytasks down'), or name another file; several "
        "services can share a PostgreSQL database only"
    )


class TestPorts:
    """The ports of Serve and of the replicas' own listener."""

    @pytest.fixture(autouse=True)
    def no_leftovers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(processes, "end_leftovers", lambda: 0)
        monkeypatch.setattr(run_files, "remove_old", lambda _: None)

    def refusal(self, port: int, **settings: object) -> str:
        """Return why the ports are refused."""
        read = Settings.model_validate({"_env_file": None, **settings})
        with pytest.raises((SettingsError, ClusterError)) as refused:
            up._take_ports(Endpoint("127.0.0.1", port), read)
        return str(refused.value)

    def test_free_ones_are_taken(self) -> None:
        up._take_ports(Endpoint("127.0.0.1", quiet_port()), Settings(listen_port=quiet_port()))

    def test_who_has_one_is_named_with_the_setting(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = other.getsockname()[1]
            assert f"RAYTASKS_LISTEN_PORT: {taken} is in use by " in self.refusal(
                quiet_port(), listen_port=taken
            )
            assert f"--port: {taken} is in use by " in self.refusal(taken)

    def test_another_service_is_named_with_the_way_to_stop_it(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(runs, "folder", lambda: tmp_path)
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = other.getsockname()[1]
            with runs.noted(taken, f"http://127.0.0.1:{taken}", 1.0):
                said = (
                    f"{taken} is in use by another raytasks service (pid {os.getpid()}, "
                    f"http://127.0.0.1:{taken}); stop it with 'raytasks down --port {taken}', or "
                    "choose another one"
                )
                assert self.refusal(taken) == f"--port: {said}"
                assert (
                    self.refusal(quiet_port(), listen_port=taken) == f"RAYTASKS_LISTEN_PORT: {said}"
                )

    def test_both_cannot_be_the_same(self) -> None:
        port = quiet_port()
        said = f"RAYTASKS_LISTEN_PORT: {port} is the --port"
        assert self.refusal(port, listen_port=port).startswith(said)

    def test_a_host_of_another_machine_is_refused(self) -> None:
        text = self.refusal(quiet_port(), listen_port=quiet_port(), listen_host="192.0.2.1")
        assert text.startswith("RAYTASKS_LISTEN_HOST: cannot listen on 192.0.2.1:")
