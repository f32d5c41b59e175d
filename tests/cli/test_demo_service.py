"""The service of `raytasks demo`: what it takes from the project in whose folder it runs."""

import os
from pathlib import Path

import pytest

from raytasks.cli.demo_service import environment_of
from raytasks.settings import load_settings


def test_it_leaves_the_database_of_a_project_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / ".env").write_text(
        "RAYTASKS_DATABASE_URL=sqlite:///tasks.db\n"
        "RAYTASKS_REDIS_URL=redis://localhost:1\n"
        "RAYTASKS_TASK_MODULES=shop.tasks\n"
        "RAYTASKS_ARTIFACTS_URL=files\n"
    )
    monkeypatch.chdir(project)
    for name, value in environment_of(tmp_path / "demo", ["raytasks.builtin"]).items():
        if os.environ.get(name) != value:
            monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.database_url.endswith(f"{tmp_path}/demo/tasks.db")
    assert settings.redis_url is None
    assert all(name.startswith("raytasks.builtin") for name in settings.task_modules)
    assert settings.artifacts_url == str(project / "files")
