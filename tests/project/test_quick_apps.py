"""Parameters share what was derived from them only if they are alike in everything."""

from typing import Annotated, Any

import pytest
from fastapi import Query
from fastapi._compat import v2
from pydantic import AfterValidator
from pydantic.fields import FieldInfo


def derived(annotation: Any, default: Any = ..., **more: Any) -> Any:
    info = FieldInfo.from_annotated_attribute(annotation, Query(default, **more))
    return v2.ModelField(field_info=info, name="number")._type_adapter


def test_equal_ones_share() -> None:
    assert derived(int, ge=1) is derived(int, ge=1)
    assert derived(Annotated[int, Query(le=5)]) is derived(Annotated[int, Query(le=5)])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (derived(int, ge=1), derived(int, ge=2)),
        (derived(int, ge=1), derived(int, gt=1)),
        (derived(int, 1), derived(int, True)),
        (derived(int), derived(int | None)),
        (derived(str, alias="a"), derived(str, alias="b")),
        (derived(str, description="a"), derived(str, description="b")),
    ],
)
def test_others_do_not(one: Any, other: Any) -> None:
    assert one is not other


def test_each_function_counts_as_another() -> None:
    def field(low: int) -> Any:
        def check(number: int) -> int:
            assert number > low
            return number

        return derived(Annotated[int, AfterValidator(check)])

    assert field(1) is not field(2)
