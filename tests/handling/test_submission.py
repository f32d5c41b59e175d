"""How times are written, and which numbers a body may have."""

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from raytasks.model.strict_json import parse_json
from raytasks.model.time_text import rfc3339


class TestTimes:
    @given(st.floats(-1e10, 2e11) | st.floats(1e9, 4e9) | st.integers(0, 2**32))
    @example(1_767_225_600.9999996)
    @example(1_767_225_600.9999994)
    @example(0.0000005)
    @example(1_767_225_600.0000007)
    @example(-0.25)
    @example(253_402_300_799.5)
    def test_are_as_the_standard_library_writes_them(self, seconds: float) -> None:
        written = datetime.fromtimestamp(seconds, UTC).isoformat()
        assert rfc3339(seconds) == written.replace("+00:00", "Z")

    @pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 1e300, 253_402_300_800.5])
    def test_none_that_is_no_time(self, seconds: float) -> None:
        with pytest.raises((ValueError, OverflowError)):
            rfc3339(seconds)

    def test_no_time_is_none(self) -> None:
        assert rfc3339(None) is None


class TestNumbers:
    @pytest.mark.parametrize(
        "body",
        [
            b"[1e999]",
            b"[-1E+400]",
            b'{"a": 1.5e309}',
            b"[" + b"9" * 400 + b".0]",
            b"[-" + b"1" * 310 + b".25]",
            b"[" + b"1" * 300 + b"e99]",
        ],
    )
    def test_too_big(self, body: bytes) -> None:
        with pytest.raises(ValueError, match="a number is too big"):
            parse_json(body)

    @pytest.mark.parametrize(
        ("body", "value"),
        [
            (b"[1e3]", [1000.0]),
            (b'["1e999", "see"]', ["1e999", "see"]),
            (b"[" + b"9" * 400 + b"]", [int("9" * 400)]),
            (b"[0." + b"1" * 400 + b"]", [1 / 9]),
            (b"[1e-999]", [0.0]),
        ],
    )
    def test_that_are_fine(self, body: bytes, value: object) -> None:
        assert parse_json(body) == value
