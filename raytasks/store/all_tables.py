"""The names of all tables of ours. A module that declares tables is imported here."""

import raytasks.store.count_tables
import raytasks.store.limit_place_rows
import raytasks.store.outbox_rows
import raytasks.store.place_rows
import raytasks.store.schedule_rows
import raytasks.store.service_tables
import raytasks.store.steering_tables  # noqa: F401 - they add theirs to the metadata
from raytasks.store.schema import metadata

TABLE_NAMES: frozenset[str] = frozenset(metadata.tables)
"""The names, without Alembic's table of the version."""
