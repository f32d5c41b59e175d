"""A database's URL, as `raytasks up` shows it."""

import pytest

from raytasks.store.database_url import without_password


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////data/tasks.db", "sqlite:////data/tasks.db"),
        ("postgresql://me:se%2Fcret@host:5432/name", "postgresql://me:***@host:5432/name"),
        ("postgresql://me@host/name", "postgresql://me@host/name"),
    ],
)
def test_it_has_no_password(url: str, shown: str) -> None:
    assert without_password(url) == shown
