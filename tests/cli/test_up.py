"""The refusals of `raytasks up` before it starts anything."""

from pathlib import Path

import pytest

from raytasks.cli import up
from raytasks.settings import Settings, SettingsError
from raytasks.store.file_lock import locked


def test_a_second_service_on_a_live_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "_IN_USE_SECONDS", 0.0)
    settings = Settings(database_url=f"sqlite:///{tmp_path}/tasks.db")
    up.refuse_second(settings)
    with locked(tmp_path / "tasks.db", "process 7 on here"):
        with pytest.raises(SettingsError) as refused:
            up.refuse_second(settings)
        up.refuse_second(Settings(database_url="postgresql://u@h/d"))
    assert str(refused.value) == (
        "DATABASE_URL: another raytasks service (process 7 on here) uses the file "
        f"{tmp_path}/tasks.db: stop it first ('raytasks down'), or name another file; several "
        "services can share a PostgreSQL database only"
    )
