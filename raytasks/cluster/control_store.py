"""Ray's control store: where the head's gcs_server keeps its tables, so that it can come back.

The tables belong to one run of a head: a new head never reads those of an earlier one.
"""

import contextlib
import os
import shutil
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

from raytasks.cluster.redis_link import RedisAddress, RedisError, connected, delete_keys
from raytasks.settings import SettingsError

_STORAGE = "RAY_gcs_storage"
_PATH = "RAY_gcs_storage_path"


class ControlStore:
    """A place for the tables of one head.

    This one is gcs_server's own memory: the tables die with it.
    """

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make Ray use this place."""
        return {_STORAGE: "memory"}

    @property
    def arguments(self) -> list[str]:
        """The options of `ray start` for it, beside the variables."""
        return []

    def remove(self) -> None:
        """Delete the tables; the head has ended."""


def open_control_store(redis_url: str | None) -> ControlStore:
    """Return a fresh place: in Redis if a URL is given, else in Ray's embedded RocksDB.

    `RAY_gcs_storage=memory` in the environment turns RocksDB off. The parent of its runs' folders
    is `RAY_gcs_storage_path`. Raises `SettingsError`.
    """
    if redis_url is not None:
        try:
            return InRedis.open(redis_url)
        except RedisError as error:
            raise SettingsError(f"RAYTASKS_REDIS_URL: {error}") from None
    if os.environ.get(_STORAGE, "rocksdb") == "memory":
        return ControlStore()
    return InFolder.make(os.environ.get(_PATH) or tempfile.gettempdir())


@dataclass(frozen=True)
class InFolder(ControlStore):
    """RocksDB, which is part of Ray, in a folder of this machine."""

    folder: Path

    @classmethod
    def make(cls, parent: str) -> "InFolder":
        """Make a new folder. Raises `SettingsError`."""
        try:
            return cls(Path(tempfile.mkdtemp(prefix="raytasks-control-", dir=parent)))
        except OSError as error:
            raise SettingsError(f"{_PATH}: {parent}: {error.strerror}") from None

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make Ray use this folder."""
        return {_STORAGE: "rocksdb", _PATH: str(self.folder)}

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class InRedis(ControlStore):
    """A Redis server, in a namespace of our own."""

    address: RedisAddress
    namespace: str

    @classmethod
    def open(cls, url: str) -> "InRedis":
        """Choose a new namespace on a server that answers. Raises `RedisError`."""
        address = RedisAddress.parse(url)
        with connected(address):
            return cls(address, f"raytasks-{uuid.uuid4().hex}")

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make Ray use this server."""
        return {
            _STORAGE: "redis",
            "RAY_REDIS_ADDRESS": str(self.address),
            "RAY_external_storage_namespace": self.namespace,
        }

    @property
    def arguments(self) -> list[str]:
        """The user and password of Ray on this server."""
        options = {"--redis-username": self.address.user, "--redis-password": self.address.password}
        return [f"{name}={value}" for name, value in options.items() if value]

    def remove(self) -> None:
        """Delete the namespace, if the server still answers."""
        with contextlib.suppress(RedisError), connected(self.address) as redis:
            delete_keys(redis, f"RAY{self.namespace}@*")
