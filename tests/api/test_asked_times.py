"""The times in requests."""

import pytest
from pydantic import TypeAdapter, ValidationError

from raytasks.api.asked_times import AskedTime
from raytasks.model.time_text import rfc3339

ASKED = TypeAdapter(AskedTime)


@pytest.mark.parametrize(
    "text",
    ["2031-01-31T12:00:00Z", "2031-01-31T12:00:00.5+02:00", "1970-01-01T00:00:00Z",
     "9999-12-31T23:59:58Z"],
)  # fmt: skip
def test_a_time_is_taken_and_can_be_shown(text: str) -> None:
    assert rfc3339(ASKED.validate_python(text).timestamp())


@pytest.mark.parametrize(
    "bad",
    [1, 1.5, "1", "2031-01-31", "2031-01-31T12:00:00", "soon", True, "0001-01-01T00:00:00Z",
     "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", [], {}],
)  # fmt: skip
def test_what_is_no_time_is_refused(bad: object) -> None:
    with pytest.raises(ValidationError):
        ASKED.validate_python(bad)
