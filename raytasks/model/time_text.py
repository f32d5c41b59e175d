"""Times as text, and as dates."""

from datetime import UTC, datetime
from functools import lru_cache


def rfc3339(seconds: float | None) -> str | None:
    """Return a time (seconds since the epoch) as RFC 3339 in UTC, e.g. 2026-01-31T12:00:00.5Z."""
    if seconds is None:
        return None
    whole = int(seconds)
    micros = round((seconds - whole) * 1e6)  # half to even, as in `fromtimestamp`
    if not 0 < micros < 1_000_000:
        return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    return f"{_second(whole)}.{micros:06d}Z"


def utc_time(seconds: float | None) -> datetime | None:
    """Return a time (seconds since the epoch) as a date with its time, in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    """Return a time in whole seconds, without its zone. It is cached, as most repeat."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
