"""The service of `raytasks demo`: what it takes from the project in whose folder it runs."""

import os
import subprocess
import sys
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


ENDED_TWICE = """
import signal
from raytasks.cli import demo_service

class Service:
    def __init__(self, *_arguments, **_options): pass
    def send_signal(self, number): print("told", number, flush=True)
    def wait(self, _seconds):
        signal.raise_signal(signal.SIGTERM)  # one more, while the service stops
        print("stopped", flush=True)
        return 0

demo_service.subprocess.Popen = Service
demo_service._wait_until_ready = lambda *_: None
with demo_service.demo_service(1, ()):
    signal.raise_signal(signal.SIG{name})
"""


@pytest.mark.parametrize(("name", "code"), [("TERM", 143), ("HUP", 129)])
def test_a_second_signal_does_not_cut_its_stop_short(name: str, code: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDED_TWICE.format(name=name)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[1:] == ["told 2", "stopped"], done
    assert done.returncode == code
