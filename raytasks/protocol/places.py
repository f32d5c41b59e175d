"""What the service says of itself: where its database is, and what submissions must keep to."""

from msgspec import Struct


class DatabasePlace(Struct, frozen=True):
    """A database that the tracker has migrated and taken over.

    An SQLite file is on the node of this id. `owner` is what the epoch in it says of its tracker:
    a database that says so is the tracker's, and not another one of the same name.
    """

    url: str
    node_id: str
    owner: str

    def __repr__(self) -> str:  # without the URL, which may hold a password
        return f"DatabasePlace(node_id={self.node_id!r}, owner={self.owner!r})"

    def is_bound_elsewhere(self, node_id: str) -> bool:
        """Return whether it is a file that is not on the node of this id."""
        return self.url.startswith("sqlite") and self.node_id != node_id


class Terms(Struct, frozen=True, omit_defaults=True):
    """The settings of the service that a submission must keep to; sizes are in bytes.

    `version` is the service's version of raytasks.
    """

    artifacts_url: str
    offload_bytes: int
    max_result_bytes: int
    max_payload_bytes: int
    max_depth: int
    max_batch_bytes: int
    version: str = ""
