"""The table of count steps: what transactions add to the counts and totals, until it is folded.

A row that every tick updates grows without bound on PostgreSQL while any snapshot is held. So a
transaction only appends here. Now and then a tick folds all steps into `task_counts` and `totals`.
What is true is always the sum of both: see `raytasks.store.count_steps`.
"""

from sqlalchemy import Column, String, Table, Text

from raytasks.store.schema import metadata

# Rows are appended, and all of them are deleted at once. So there is no key: an index would only
# add to PostgreSQL's log.
count_steps = Table(
    "count_steps",
    metadata,
    Column("namespace", String(63), nullable=False),
    Column("task_type", String(100), nullable=False),
    # What to add, as a JSON object: by state for `task_counts`, by name for `totals`. A state is a
    # letter in upper case, a name is in lower case.
    Column("changes", Text, nullable=False),
)
