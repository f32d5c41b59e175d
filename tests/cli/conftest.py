"""The `raytasks` command in this process, against a real service on a loopback port."""

import io
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from raytasks.cli import main
from raytasks.client import api
from tests.local_service import LocalService, served


@dataclass
class Done:
    """How a command ended, and what it said."""

    code: int | str | None
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture(scope="module")
def service_url(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a service for the tests of a module."""
    folder = tmp_path_factory.mktemp("service")
    file = shutil.copy(sqlite_template, folder / "tasks.db")
    with served(
        LocalService(f"sqlite:///{file}", folder, max_payload_bytes=5000, offload_bytes=4000)
    ) as url:
        yield url


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run the command with these arguments, in a folder without a `.env`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api, "RETRY_DELAYS", ())
    for name in ("RAYTASKS_URL", "RAYTASKS_API_KEY", "RAYTASKS_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)

    def run_one(*arguments: str, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "argv", ["raytasks", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        return Done(caught.value.code or 0, captured.out, captured.err)

    return run_one


@pytest.fixture
def tasks(run: Run, service_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a client's command against the service."""
    monkeypatch.setenv("RAYTASKS_URL", service_url)
    return run
