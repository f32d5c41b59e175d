"""The times in the query or the body of a request."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator

_LAST = datetime.max.replace(tzinfo=UTC).timestamp() - 1.0


def _no_number(value: Any) -> Any:
    """Refuse a number, as its unit would be a guess: seconds or milliseconds."""
    if value is None or isinstance(value, datetime):
        return value
    if isinstance(value, str) and len(value) > 10 and value[4:5] == "-":
        return value
    raise ValueError("give a text as in RFC 3339, e.g. 2031-01-31T12:00:00Z")


def _in_range(value: datetime) -> datetime:
    """Refuse a time that cannot be shown in UTC, or is before 1970."""
    if not 0.0 <= value.timestamp() <= _LAST:
        raise ValueError("must be from 1970 to 9999")
    return value


AskedTime = Annotated[AwareDatetime, BeforeValidator(_no_number), AfterValidator(_in_range)]
"""A time as RFC 3339 text, with a time zone."""
