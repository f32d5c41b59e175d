"""Signed links: they open one path for a time without a key, by an HMAC of path and expiry."""

import hashlib
import hmac
import time
from collections.abc import Callable
from http import HTTPStatus

from raytasks.api.problems import Problem

_PURPOSE = "raytasks link v1"  # so that no other text signed with the secret is a link


class Links:
    """Makes links that are valid for a fixed number of seconds, and checks them."""

    def __init__(self, secret: str, seconds: float, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret.encode()
        self._seconds = seconds
        self._clock = clock

    def to(self, path: str) -> str:
        """Return a link to a path."""
        expires = int(self._clock() + self._seconds)
        return f"{path}?expires={expires}&signature={self._signature(path, expires)}"

    def check(self, path: str, expires: int | None, signature: str | None) -> None:
        """Refuse a link that we have not made, or that has expired.

        Raises `Problem` 403.
        """
        given = (signature or "").encode()
        right = self._signature(path, expires or 0).encode()
        if not hmac.compare_digest(given, right) or expires is None:
            raise Problem(HTTPStatus.FORBIDDEN, "this link is not one of ours, or was changed")
        if expires < self._clock():
            raise Problem(
                HTTPStatus.FORBIDDEN, "this link has expired; ask for the task's artifacts again"
            )

    def _signature(self, path: str, expires: int) -> str:
        signed = f"{_PURPOSE}\n{expires}\n{path}".encode()
        return hmac.new(self._secret, signed, hashlib.sha256).hexdigest()
