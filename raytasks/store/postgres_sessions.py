"""Sessions on PostgreSQL: the settings that each needs, also behind a pooler of connections.

A server takes the settings with the start of the session, which costs nothing later. A pooler such
as PgBouncer refuses or drops them, and may give each transaction another session. So there each
transaction begins with its own settings, nothing is prepared, and no session keeps any state.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL

from raytasks.model.lines import one_line
from raytasks.store.cursors import driver_errors
from raytasks.store.database_url import parse_url, schema_of
from raytasks.store.refusals import takes_no_writes

log = logging.getLogger(__name__)

# A silent server is noticed after some seconds. `tcp_user_timeout` is in milliseconds, the other
# times are in seconds. The name tells an operator whose sessions these are.
_NETWORK = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "fallback_application_name": "raytasks",
}
# A tracker that is frozen within a transaction does not delay its successor. Nobody waits without
# end for somebody else's lock on our tables. In milliseconds.
_TIMEOUTS = {
    "idle_in_transaction_session_timeout": "5000",
    "lock_timeout": "5000",
    "statement_timeout": "15000",
}
# The statements of ticks, and of reads of single tasks, are the same each time, and use an index
# however many tasks there are. Kept plans save some of the server's time (python -m
# benchmarks.store_cost): half of it for a read.
_KEPT_PLANS = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}
_READ_ONLY = {"default_transaction_read_only": "on"}
_IN_TRANSACTION = {"default_transaction_read_only": "transaction_read_only"}

POOLED = "raytasks_pooled"
"""The key in the `info` of a connection that says that a pooler stands before the server."""

_MARK = {"raytasks.session": "own"}  # PostgreSQL keeps a value with any unknown prefix
_CHECK = "SELECT current_setting('raytasks.session', true)"
_WANTED = "target_session_attrs"
_REFUSALS = ("startup param", "command-line options")


def postgres_engine(
    url: str, *, keeps_plans: bool = False, reads_only: bool = False, **arguments: Any
) -> Engine:
    """Return an engine whose sessions are as `PostgresSessions` says.

    The `arguments` are those of SQLAlchemy's `create_engine`. Raises `DatabaseUrlError`.
    """
    sessions = PostgresSessions(url, keeps_plans=keeps_plans, reads_only=reads_only)
    engine = create_engine(sessions.url, connect_args=sessions.arguments(), **arguments)
    sessions.manage(engine)
    return engine


class PostgresSessions:
    """How the connections of one engine are opened, and how their transactions begin.

    `keeps_plans`: a statement is planned once, and goes by indexes. `reads_only`: nothing can be
    written. Raises `DatabaseUrlError` for a bad URL.
    """

    def __init__(self, url: str, *, keeps_plans: bool = False, reads_only: bool = False) -> None:
        self.url: URL = parse_url(url)
        self.schema = schema_of(url)
        self.pooled: bool | None = None
        """Whether a pooler stands before the server; None before the first connection."""
        self._reads_only = reads_only
        self._settings: dict[str, str] = dict(_TIMEOUTS)
        if keeps_plans:
            self._settings |= _KEPT_PLANS
        if reads_only:
            self._settings |= _READ_ONLY
        if self.schema is not None:
            self._settings["search_path"] = self.schema

    def arguments(self) -> dict[str, Any]:
        """Return the driver's arguments for a session with these settings."""
        given = self.url.query.get("options", "")
        own = given if isinstance(given, str) else " ".join(given)
        settings = self._settings | _MARK
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        arguments = _NETWORK | {"options": f"{options} {own}".strip()}
        if self._reads_only and self.url.query.get(_WANTED) == "read-write":
            # The driver would refuse each server, as our own sessions are read-only.
            arguments[_WANTED] = "primary"
        return arguments

    def manage(self, engine: Engine) -> None:
        """Open the engine's connections, and begin its transactions, as they need it."""

        @event.listens_for(engine, "do_connect")
        def _open(dialect: Any, _record: object, places: Any, named: dict[str, Any]) -> Any:
            return self._opened(lambda **more: dialect.connect(*places, **(named | more)))

        @event.listens_for(engine, "connect")
        def _set_up(connection: Any, record: Any) -> None:
            record.info[POOLED] = self.pooled
            if self.pooled:
                connection.prepare_threshold = None
                connection.autocommit = False  # a single statement needs the settings, too

        @event.listens_for(engine, "handle_error")
        def _judge(context: Any) -> None:
            context.is_disconnect |= takes_no_writes(context.original_exception)

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            if self.pooled:
                self._set_in_transaction(connection)

    def _opened(self, connect: Callable[..., Any]) -> Any:
        from psycopg import OperationalError  # a service on SQLite does without

        if not self.pooled:
            try:
                connection = connect()
            except OperationalError as error:
                if not any(word in str(error) for word in _REFUSALS):
                    raise
                self._note_pooler(one_line(error))
            else:
                if self.pooled is False or self._has_settings(connection):
                    self.pooled = False
                    return connection
                connection.close()
                self._note_pooler("it drops the settings of sessions")
        given = self.url.query.get("options")
        return connect(options=given)

    def _has_settings(self, connection: Any) -> bool:
        """Return whether the server has got the settings, which a pooler may have dropped."""
        [(found,)] = connection.execute(_CHECK).fetchall()
        connection.rollback()
        return found in _MARK.values()

    def _note_pooler(self, why: str) -> None:
        self.pooled = True
        log.info("a pooler stands before PostgreSQL, so each transaction sets itself up: %s", why)

    def _set_in_transaction(self, connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        if driver.autocommit:  # e.g. an index that is built beside writers
            return
        text = local_settings(self._settings)
        with driver_errors(connection, text):
            driver.cursor().execute(text)


def local_settings(settings: Mapping[str, str]) -> str:
    """Return the SQL that sets these values for the present transaction."""
    return "; ".join(
        f"SET LOCAL {_IN_TRANSACTION.get(name, name)} = '{value}'"
        for name, value in settings.items()
    )
