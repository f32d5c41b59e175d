"""The tables of what people set while the service runs. See `raytasks.model.steering`."""

from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, String, Table

from raytasks.store.schema import metadata

# What people have set, instead of what the handlers declare: the bounds of limits, the sizes of
# pools, the weights of namespaces. Without a row the declaration holds.
limit_settings = Table(
    "limit_settings",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("running", Integer),  # null: no such bound; so is `rate`
    Column("rate", Double),
    Column("per_seconds", Double, nullable=False),
    Column("burst", Integer),
    Column("changed_at", Double, nullable=False),
    Column("by", String(128), nullable=False),
    sqlite_with_rowid=False,
)
pool_settings = Table(
    "pool_settings",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("least", Integer, nullable=False),
    Column("most", Integer, nullable=False),
    Column("changed_at", Double, nullable=False),
    Column("by", String(128), nullable=False),
    sqlite_with_rowid=False,
)
namespace_settings = Table(
    "namespace_settings",
    metadata,
    Column("namespace", String(63), primary_key=True),
    Column("weight", Double, nullable=False),
    Column("max_backlog", BigInteger),  # null: no bound of its own
    Column("changed_at", Double, nullable=False),
    Column("by", String(128), nullable=False),
    sqlite_with_rowid=False,
)

# What is paused: a type, a namespace, a type within a namespace; both empty: the whole service.
pauses = Table(
    "pauses",
    metadata,
    Column("namespace", String(63), primary_key=True),
    Column("task_type", String(100), primary_key=True),
    Column("since", Double, nullable=False),
    Column("until", Double),  # null: until a person ends it
    Column("by", String(128), nullable=False),
    Column("drain", Boolean, nullable=False),  # a deployment ends it as well
    sqlite_with_rowid=False,
)
