"""The nudge: a small request that has the service look into the outbox at once. It may get lost."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from raytasks.client.requests import DEFAULT_URL, checked_api_key, checked_url

log = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 2.0
_QUIET_SECONDS = 5.0  # after a nudge that failed: the service may be away, and finds rows itself
_PATH = "/outbox/nudge"


class Nudger:
    """Sends nudges to the service at `url` from a thread of its own, so that no caller waits.

    Nudges that come while one is on its way are one. A failure is only logged (DEBUG).
    """

    def __init__(
        self, url: str, api_key: str | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.url = checked_url(url)
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._transport = transport
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0

    def nudge(self) -> None:
        """Have a nudge sent soon. Returns at once, and never raises."""
        if self._thread is None or self._pid != os.getpid():  # threads do not survive a fork
            with self._lock:
                if self._thread is None or self._pid != os.getpid():
                    self._wanted = threading.Event()
                    self._thread = threading.Thread(
                        target=self._run, name="raytasks-nudges", daemon=True
                    )
                    self._pid = os.getpid()
                    self._thread.start()
        self._wanted.set()

    def _run(self) -> None:
        wanted = self._wanted
        with httpx.Client(
            base_url=self.url,
            headers=self._headers,
            timeout=_TIMEOUT_SECONDS,
            transport=self._transport,
            trust_env=False,
        ) as client:
            while True:
                wanted.wait()
                wanted.clear()
                try:
                    client.post(_PATH).raise_for_status()
                except Exception as error:
                    log.debug("the service was not nudged: %r", error)
                    threading.Event().wait(_QUIET_SECONDS)


_silences = 0
"""How many blocks in which nothing is sent have begun, and have not ended."""


@contextmanager
def silenced() -> Iterator[None]:
    """Send no nudges until the block ends: a test has a service that needs none."""
    global _silences  # noqa: PLW0603 - it belongs to the process
    _silences += 1
    try:
        yield
    finally:
        _silences -= 1


_nudgers: dict[tuple[str, str | None], Nudger] = {}


def nudge(url: str | None = None, *, api_key: str | None = None) -> None:
    """Have the service at `url` look into the outbox at once. Call it after your commit.

    By default the URL is `RAYTASKS_URL`, or `http://127.0.0.1:8000`, and the key is
    `RAYTASKS_API_KEY`. It needs the scope submit. The call returns at once: the request is sent by
    a thread, and may get lost. Then the service finds the row within a second. Raises `BadArgument`
    for what is no URL or key.
    """
    if not _silences:
        _nudger(url, api_key).nudge()


def check_nudges() -> None:
    """Raise `BadArgument` if the environment names no URL or key for nudges."""
    if not _silences:
        _nudger(None, None)


def _nudger(url: str | None, api_key: str | None) -> Nudger:
    url = os.environ.get("RAYTASKS_URL", DEFAULT_URL) if url is None else url
    key = os.environ.get("RAYTASKS_API_KEY") if api_key is None else api_key
    known = _nudgers.get((url, key))
    if known is None:
        known = Nudger(url, checked_api_key(key) if key else None)
        _nudgers[url, key] = known
    return known
