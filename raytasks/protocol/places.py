"""The service's facts about itself: the place of its database, and its terms for submissions."""

from msgspec import Struct


class DatabasePlace(Struct, frozen=True):
    """A database that the tracker has migrated and taken over.

    - `node_id`: the node that has the file, for SQLite.
    - `owner`: the owner that the database's epoch names. It tells this database from another one of
      the same name.
    """

    url: str
    node_id: str
    owner: str

    def __repr__(self) -> str:  # without the URL, which may hold a password
        return f"DatabasePlace(node_id={self.node_id!r}, owner={self.owner!r})"

    def is_bound_elsewhere(self, node_id: str) -> bool:
        """Return whether the database is a file on another node than the one with this id."""
        return self.url.startswith("sqlite") and self.node_id != node_id


class Terms(Struct, frozen=True, omit_defaults=True):
    """The settings of the service that a submission must keep to; sizes are in bytes.

    The `version` is the service's version of raytasks. In `callback_namespaces`, tasks may have a
    callback.
    """

    artifacts_url: str
    offload_bytes: int
    max_result_bytes: int
    max_payload_bytes: int
    max_depth: int
    max_batch_bytes: int
    version: str = ""
    callback_namespaces: tuple[str, ...] = ()
    callback_allowed_hosts: tuple[str, ...] = ()
