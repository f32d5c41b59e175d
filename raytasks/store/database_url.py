"""Database URLs: which driver, file, server and schema they name."""

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from raytasks.model.schema_names import PARAMETER, check_schema
from raytasks.model.tasks import RaytasksError


class DatabaseUrlError(RaytasksError):
    """DATABASE_URL is not one that raytasks can use. The text says why."""


def parse_url(url: str) -> URL:
    """Return the URL with the driver that raytasks uses, without its schema.

    A schema is what `schema_of` returns. Raises `DatabaseUrlError`.
    """
    parsed = _parsed(url)
    schema_of(url)
    return parsed.difference_update_query([PARAMETER])


def schema_of(url: str) -> str | None:
    """Return the PostgreSQL schema that the URL names; None: the user's own search path.

    Raises `DatabaseUrlError`.
    """
    parsed = _parsed(url)
    name = parsed.query.get(PARAMETER)
    if name is None:
        return None
    if parsed.get_backend_name() == "sqlite":
        raise DatabaseUrlError("RAYTASKS_DATABASE_URL: SQLite has no schemas; leave out `schema`")
    try:
        return check_schema(name if isinstance(name, str) else name[-1])
    except ValueError as error:
        raise DatabaseUrlError(f"RAYTASKS_DATABASE_URL: {error}") from None


def without_password(url: str) -> str:
    """Return a database URL without its password, so that it may be shown."""
    return make_url(_with_hosts_apart(url)).render_as_string(hide_password=True)


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(_with_hosts_apart(url))
    except (ArgumentError, ValueError):
        raise DatabaseUrlError(
            "RAYTASKS_DATABASE_URL: not a database URL; use sqlite:///./tasks.db or "
            "postgresql://user:password@host/name"
        ) from None
    match parsed.drivername:
        case "sqlite" | "sqlite+pysqlite":
            if not parsed.database or parsed.database.startswith((":memory:", "file::memory:")):
                raise DatabaseUrlError(
                    "RAYTASKS_DATABASE_URL: a database in memory keeps nothing; name a file, "
                    "as in sqlite:///./tasks.db"
                )
            return parsed.set(drivername="sqlite+pysqlite")
        case "postgresql" | "postgres" | "postgresql+psycopg":
            return parsed.set(drivername="postgresql+psycopg")
        case other:
            raise DatabaseUrlError(
                f"RAYTASKS_DATABASE_URL: {other!r} is not supported; use sqlite or postgresql"
            )


def _with_hosts_apart(url: str) -> str:
    """Return a URL of several servers (`//user@a:5432,b:5432/name`) as SQLAlchemy writes it."""
    scheme, mark, rest = url.partition("://")
    place, slash, tail = rest.partition("/")
    user, at, hosts = place.rpartition("@")
    if not scheme.startswith("postgres") or "," not in hosts or "?" in place:
        return url
    path, _, query = tail.partition("?")
    hosts_query = "&".join(f"host={host}" for host in hosts.split(","))
    query = f"{hosts_query}&{query}" if query else hosts_query
    return f"{scheme}{mark}{user}{at}{slash}{path}?{query}"
