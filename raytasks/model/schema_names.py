"""Names of PostgreSQL schemas, and how a database URL carries one: `?schema=NAME`."""

import re
from urllib.parse import parse_qs, quote

PARAMETER = "schema"
"""The parameter of a database URL that names the schema of our tables."""

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


def check_schema(name: str) -> str:
    """Return the name if a schema of ours may have it. Raises `ValueError`, whose text says why."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is not a name for a schema; use up to 63 of a-z, 0-9 and _, no digit first"
        )
    if name.startswith("pg_") or name == "information_schema":
        raise ValueError(f"{name!r} belongs to PostgreSQL itself; choose another name")
    return name


def quoted(schema: str) -> str:
    """Return the name of a schema for SQL, where it may also be a word of the language: `user`."""
    return f'"{schema}"'


def with_schema(url: str, schema: str) -> str:
    """Return a database URL that names the schema.

    Raises `ValueError` for SQLite, and if the URL names another schema.
    """
    if url.startswith("sqlite"):
        raise ValueError(
            "SQLite has no schemas; leave RAYTASKS_DATABASE_SCHEMA empty, or set "
            "RAYTASKS_DATABASE_URL to PostgreSQL"
        )
    query = url.partition("?")[2]
    match parse_qs(query).get(PARAMETER, []):
        case []:
            return f"{url}{'&' if query else '' if '?' in url else '?'}{PARAMETER}={quote(schema)}"
        case [named] if named == schema:
            return url
        case [named, *_]:
            raise ValueError(
                f"it names the schema {named!r}, and RAYTASKS_DATABASE_SCHEMA {schema!r}; leave "
                "out one"
            )
    raise AssertionError
