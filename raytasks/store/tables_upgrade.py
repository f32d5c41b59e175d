"""The upgrade of the tables: which migrations are missing, and their application.

Tables that are not ours, or of a newer version, are refused. Then nothing has changed.
"""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from io import StringIO
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, inspect, text

from raytasks.model.schema_names import quoted
from raytasks.model.tasks import StoreUnavailable
from raytasks.store import online_upgrade, outbox_function
from raytasks.store.service_tables import tracker_epoch

MIGRATIONS = Path(__file__).parent / "migrations"
"""The folder of Alembic's environment."""

VERSION_TABLE = "alembic_version"
"""The table that holds the revision of ours."""

Begin = Callable[[], AbstractContextManager[Connection]]

_TAKEN = re.compile(r"""(?:relation|table|index) "?(\w+)"? already exists""")


class TablesRefused(StoreUnavailable):
    """The tables are not ours, or of a newer version. Trying again does not help."""

    in_doubt = False


class TablesUpgrade:
    """The upgrade of one database. `online`: the engine for what runs beside a service, or None.

    `reading` and `writing` begin transactions. The tables are in `schema`; None: where the search
    path leads.
    """

    def __init__(
        self, reading: Begin, writing: Begin, online: Engine | None, schema: str | None
    ) -> None:
        self._reading = reading
        self._writing = writing
        self._online = online
        self._schema = schema

    def is_up_to_date(self) -> bool:
        """Return whether nothing is missing, without any lock.

        Raises `StoreUnavailable`, and `TablesRefused`.
        """
        with self._reading() as connection:
            return self.present(connection) == head() and (
                self._online is None
                or (online_upgrade.is_complete(connection) and outbox_function.is_there(connection))
            )

    def present(self, connection: Connection) -> str | None:
        """Return the revision of the tables; None without tables. Raises `TablesRefused`."""
        found = MigrationContext.configure(connection).get_current_heads()
        strangers = sorted(set(found) - set(_revisions()))
        if strangers:
            raise TablesRefused(
                f"the database's tables are of revision {', '.join(strangers)}, which this version "
                f"of raytasks (up to {head()}) does not know: they are of a newer version, or of "
                f"another program; upgrade raytasks, {_elsewhere(connection)}"
            )
        if found and not inspect(connection).has_table(tracker_epoch.name):
            raise TablesRefused(
                f"the table {VERSION_TABLE} is another program's, as there is no table "
                f"{tracker_epoch.name}; {_elsewhere(connection)}"
            )
        return found[0] if found else None

    def missing(self, connection: Connection) -> list[str]:
        """Return the revisions that an upgrade would apply, in their order."""
        present = self.present(connection)
        known = _revisions()
        return known if present is None else known[known.index(present) + 1 :]

    def apply(self) -> None:
        """Apply what is missing; one process does so at a time.

        Raises `StoreUnavailable`, and `TablesRefused`.
        """
        if self.is_up_to_date():
            return
        if self._online is None:
            self.migrate()
            return
        with online_upgrade.alone(self._online, self._schema) as connection:
            self.migrate()
            online_upgrade.complete(connection)

    def migrate(self) -> None:
        """Apply the missing migrations in one transaction."""
        config = _alembic()
        try:
            with self._writing() as connection:
                if self._online is not None:
                    # A migration may take long, but nobody waits long for the locks of others.
                    connection.execute(text("SET LOCAL statement_timeout = 0"))
                self._make_schema(connection)
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                if self._online is not None:
                    outbox_function.complete(connection)
        except CommandError as error:
            raise StoreUnavailable(f"the database's tables cannot be upgraded: {error}") from error
        except StoreUnavailable as error:
            if taken := _TAKEN.search(str(error)):
                raise TablesRefused(
                    f"the database has something named {taken[1]!r} that raytasks has not made; "
                    f"{_ELSEWHERE[self._online is not None]}; nothing was changed"
                ) from error
            raise

    def script(self) -> str:
        """Return what `apply` would do as a script for psql, which is empty if nothing is missing.

        Nothing is changed. It is for PostgreSQL.
        """
        output, config = StringIO(), _alembic()
        with self._reading() as connection:
            present, missing = self.present(connection), self.missing(connection)
            config.attributes |= {"output": output, "is_new": present is None}
            later = () if present is None else online_upgrade.statements(connection, self._schema)
            lacks = not (missing or outbox_function.is_there(connection))
        if self._schema is not None and (missing or later or lacks):
            if present is None:
                output.write(f"CREATE SCHEMA IF NOT EXISTS {quoted(self._schema)};\n")
            output.write(f"SET search_path = {quoted(self._schema)};\n\n")
        if missing:
            command.upgrade(config, f"{present or 'base'}:head", sql=True)
        if lacks:
            output.write(f"{outbox_function.FUNCTION.strip()};\n")
        if later:
            output.write("-- Outside a transaction, beside a service that runs:\n")
            output.writelines(f"{statement};\n" for statement in later)
        return output.getvalue()

    def _make_schema(self, connection: Connection) -> None:
        if self._schema is None or inspect(connection).has_schema(self._schema):
            return
        may = text("SELECT has_database_privilege(current_database(), 'CREATE'), current_user")
        allowed, user = connection.execute(may).one()
        if not allowed:
            raise TablesRefused(
                f"the schema {self._schema} is not there, and {user} may not make it; "
                f"run: CREATE SCHEMA {quoted(self._schema)} AUTHORIZATION {user}"
            )
        connection.execute(text(f"CREATE SCHEMA {quoted(self._schema)}"))


_ELSEWHERE = {
    True: "set RAYTASKS_DATABASE_SCHEMA to give raytasks a schema of its own",
    False: "set RAYTASKS_DATABASE_URL to a file of its own",
}


def _elsewhere(connection: Connection) -> str:
    return f"or {_ELSEWHERE[connection.dialect.name == 'postgresql']}"


def head() -> str:
    """Return the revision of this version's tables."""
    return _revisions()[-1]


def _revisions() -> list[str]:
    """Return all revisions, the first one first."""
    scripts = ScriptDirectory.from_config(_alembic())
    return [script.revision for script in scripts.walk_revisions()][::-1]


def _alembic() -> Config:
    config = Config()
    # The configuration treats `%` as the beginning of a name.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
