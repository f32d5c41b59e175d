"""Where the tracker's database is, for those who can read it themselves."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class DatabasePlace:
    """A database that the tracker has migrated and taken over.

    An SQLite file is on the node of this id. `owner` is what the epoch in it says of its tracker:
    a database that says so is the tracker's, and not another one of the same name.
    """

    url: str = field(repr=False)
    node_id: str
    owner: str

    def is_bound_elsewhere(self, node_id: str) -> bool:
        """Return whether it is a file that is not on the node of this id."""
        return self.url.startswith("sqlite") and self.node_id != node_id
