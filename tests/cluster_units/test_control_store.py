"""Where the control store's tables go: a fresh place for every head, and what Ray is told."""

from pathlib import Path

import pytest

from raytasks.cluster.control_store import ControlStore, InFolder, InRedis, open_control_store
from raytasks.cluster.redis_link import RedisAddress
from raytasks.settings import SettingsError
from tests.redis_server import running_redis


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for the folders of all runs."""
    monkeypatch.delenv("RAY_gcs_storage", raising=False)
    monkeypatch.setenv("RAY_gcs_storage_path", str(tmp_path))
    return tmp_path


def test_without_redis_each_head_has_a_new_folder_that_is_removed(folder: Path) -> None:
    first, second = open_control_store(None), open_control_store(None)
    path = Path(first.environment["RAY_gcs_storage_path"])
    assert first.environment["RAY_gcs_storage"] == "rocksdb"
    assert path.parent == folder
    assert list(path.iterdir()) == []
    assert first.environment != second.environment
    (path / "table").touch()
    first.remove()
    second.remove()
    assert list(folder.iterdir()) == []


def test_the_folder_is_in_the_temporary_one_unless_another_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RAY_gcs_storage_path")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    store = open_control_store(None)
    assert isinstance(store, InFolder)
    assert store.folder.parent == tmp_path / "temporary"


def test_a_folder_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setenv("RAY_gcs_storage_path", str(folder / "none"))
    with pytest.raises(SettingsError, match=r"^RAY_gcs_storage_path: .*No such file"):
        open_control_store(None)


def test_ray_may_be_told_to_keep_nothing(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("RAY_gcs_storage", "memory")
    store = open_control_store(None)
    assert type(store) is ControlStore
    assert store.environment == {"RAY_gcs_storage": "memory"}
    assert store.arguments == []
    store.remove()
    assert list(folder.iterdir()) == []


def test_in_redis_each_head_has_a_namespace_that_is_removed(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        first, second = open_control_store(server.url), open_control_store(server.url)
        assert isinstance(first, InRedis)
        assert isinstance(second, InRedis)
        assert first.namespace != second.namespace
        address = server.url.partition("@")[2]
        assert first.environment == {
            "RAY_gcs_storage": "redis",
            "RAY_REDIS_ADDRESS": address,
            "RAY_external_storage_namespace": first.namespace,
        }
        first.remove()
    second.remove()  # though the server is gone


def test_ray_is_told_who_we_are_there() -> None:
    named = InRedis(RedisAddress("h", 1, "u", "p w"), "n")
    assert named.arguments == ["--redis-username=u", "--redis-password=p w"]
    assert InRedis(RedisAddress("h", 1), "n").arguments == []


@pytest.mark.parametrize("url", ["http://h:1", "redis://127.0.0.1:1"])
def test_a_redis_that_cannot_be_used_is_refused_in_a_line(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^RAYTASKS_REDIS_URL: .") as caught:
        open_control_store(url)
    assert "\n" not in str(caught.value)
