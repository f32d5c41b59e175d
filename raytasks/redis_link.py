"""The few Redis commands that we need ourselves; the control store's own client is in Ray."""

import io
import socket
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from raytasks.models import RaytasksError

_PORT = 6379
_TIMEOUT_SECONDS = 5.0
_FORM = "redis://[user:password@]HOST:PORT"


class RedisError(RaytasksError):
    """Redis cannot be used. The text says why, in a line, and never has the password in it."""


@dataclass(frozen=True)
class RedisAddress:
    """A Redis server, and who we are there."""

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


class RedisLink:
    """A connection to a Redis server that answers, for a `with` block. Raises `RedisError`."""

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        try:
            self._socket = socket.create_connection(
                (address.host, address.port), timeout=_TIMEOUT_SECONDS
            )
        except OSError as error:
            reason = error.strerror or error
            raise RedisError(f"no Redis answers at {address}: {reason}") from None
        self._stream = self._socket.makefile("rwb")

    def __enter__(self) -> Self:
        try:
            if self._address.password:
                user = (self._address.user,) if self._address.user else ()
                self.call("AUTH", *user, self._address.password)
            self.call("PING")
        except RedisError:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the server."""
        self._stream.close()
        self._socket.close()

    def call(self, *words: str | bytes) -> Any:
        """Send a command, and return its reply. Raises `RedisError`."""
        raw = [word.encode() if isinstance(word, str) else word for word in words]
        lines = [b"*%d" % len(raw), *(b"$%d\r\n%s" % (len(word), word) for word in raw), b""]
        try:
            self._stream.write(b"\r\n".join(lines))
            self._stream.flush()
            return read_reply(self._stream)
        except (OSError, ValueError) as error:
            raise RedisError(f"{self._address} does not answer as Redis does: {error}") from None

    def delete(self, pattern: str) -> None:
        """Delete all keys whose names match."""
        cursor = b"0"
        while True:
            cursor, keys = self.call("SCAN", cursor, "MATCH", pattern, "COUNT", "1000")
            if keys:
                self.call("DEL", *keys)
            if cursor == b"0":
                return


def read_reply(stream: io.BufferedIOBase) -> Any:
    """Read one reply of Redis's protocol. Raises `RedisError` if it is an error."""
    line = stream.readline()
    kind, rest = line[:1], line[1:].strip()
    match kind:
        case b"+":
            return rest
        case b"-":
            raise RedisError(rest.decode(errors="replace"))
        case b":":
            return int(rest)
        case b"$":
            size = int(rest)
            return None if size < 0 else stream.read(size + 2)[:-2]
        case b"*":
            return [read_reply(stream) for _ in range(int(rest))]
        case _:
            raise ValueError(f"{line[:40]!r}")
