"""Redis servers, as named by REDIS_URL. The control store itself uses Ray's own client."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote, urlsplit

import redis

from raytasks.model.tasks import RaytasksError

_PORT = 6379
_TIMEOUT_SECONDS = 5.0
_KEYS_AT_ONCE = 1000
_FORM = "redis://[user:password@]HOST:PORT"


class RedisError(RaytasksError):
    """Redis cannot be used. The text says why, in one line, and never contains the password."""


@dataclass(frozen=True)
class RedisAddress:
    """A Redis server, with the user and password for it."""

    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read `redis://[user:password@]host[:port]` or `host:port`. Raises `RedisError`."""
        try:
            parts = urlsplit(url if "://" in url else f"redis://{url}")
            port = parts.port or _PORT
        except ValueError:
            raise RedisError(f"not {_FORM}") from None
        if parts.scheme != "redis" or not parts.hostname or parts.query or parts.fragment:
            raise RedisError(f"not {_FORM}")
        if parts.path not in ("", "/", "/0"):
            raise RedisError("Ray uses the database 0 alone")
        return cls(
            parts.hostname, port, unquote(parts.username or ""), unquote(parts.password or "")
        )

    def __str__(self) -> str:
        """Return HOST:PORT."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@contextmanager
def connected(address: RedisAddress) -> Iterator[redis.Redis]:
    """Yield a connection to a Redis server that answers.

    Raises `RedisError`, also within the block.
    """
    client = redis.Redis(
        host=address.host,
        port=address.port,
        username=address.user or None,
        password=address.password or None,
        socket_connect_timeout=_TIMEOUT_SECONDS,
        socket_timeout=_TIMEOUT_SECONDS,
    )
    try:
        client.ping()
        yield client
    except (redis.RedisError, OSError) as error:
        reason = " ".join(str(error).split())
        raise RedisError(f"Redis cannot be used at {address}: {reason}") from None
    finally:
        client.close()


def delete_keys(client: redis.Redis, pattern: str) -> None:
    """Delete all keys whose names match the pattern."""
    found: list[bytes] = []
    for key in client.scan_iter(match=pattern, count=_KEYS_AT_ONCE):
        found.append(key)
        if len(found) == _KEYS_AT_ONCE:
            client.delete(*found)
            found.clear()
    if found:
        client.delete(*found)
