"""The tables between clusters that share a database: their reigns, and the calls of outposts."""

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
    text,
)

from raytasks.store.schema import metadata

# One row for each cluster that reigns, or whose runners may still work. The `beat` of a superseded
# one grows while it lives; the successor judges by that, on its own clock. The `seat` names the
# life of its process in which it makes calls. Null: it has made none.
reigns = Table(
    "reigns",
    metadata,
    Column("owner", String(64), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("host", String(255), nullable=False),
    Column("seat", String(36)),
    Column("beat", BigInteger, nullable=False),
    Column("renewed_at", Double, nullable=False),  # for people: by its own clock
    sqlite_with_rowid=False,
)

# The calls that outposts pass on to the successor, numbered by each seat from 1. The successor
# deletes a call in the transaction that writes its answer.
outpost_calls = Table(
    "outpost_calls",
    metadata,
    Column("seat", String(36), primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("method", String(32), nullable=False),
    Column("document", LargeBinary, nullable=False),
    # The version of the document, and the oldest that its sender understands: `protocol_version`.
    Column("protocol", SmallInteger, nullable=False, server_default=text("0")),
    Column("needs", SmallInteger, nullable=False, server_default=text("0")),
    sqlite_with_rowid=False,
)

# The answers, until the outpost has taken them. With an `error` (its class), the document is null.
outpost_answers = Table(
    "outpost_answers",
    metadata,
    Column("seat", String(36), primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("document", LargeBinary),
    Column("error", String(100)),
    Column("message", Text),
    sqlite_with_rowid=False,
)
