"""The times in the query or the body of a request."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator


def _no_number(value: Any) -> Any:
    """Refuse a number, as its unit would be a guess: seconds or milliseconds."""
    if value is None or isinstance(value, datetime):
        return value
    if isinstance(value, str) and len(value) > 10 and value[4:5] == "-":
        return value
    raise ValueError("give a text as in RFC 3339, e.g. 2031-01-31T12:00:00Z")


AskedTime = Annotated[AwareDatetime, BeforeValidator(_no_number)]
"""A time as RFC 3339 text, with a time zone."""
