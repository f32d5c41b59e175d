"""The command as a whole: help, version, start-up, errors, and `raytasks db upgrade`."""

import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raytasks import __version__
from raytasks.cli import demo

Run = Callable[..., Any]


def test_help_tells_every_command_and_the_exit_codes(run: Run) -> None:
    done = run("--help")
    assert done.code == 0
    for word in (
        "up", "worker", "leave", "demo", "submit", "submit-many", "get", "list", "events", "watch",
        "artifacts", "retry", "cancel", "bulk", "stats", "types", "health", "db",
    ):  # fmt: skip
        assert f" {word} " in done.out
    for code in ("0", "1", "2", "3", "4", "124"):
        assert f" {code} " in done.out.partition("Exit codes:")[2]


def test_version(run: Run) -> None:
    for way in ("--version", "version"):
        done = run(way)
        assert done.code == 0
        assert done.out == f"raytasks {__version__}\n"


@pytest.mark.parametrize("arguments", [("nothing",), ("get",), ("submit", "noop"), ("db", "x")])
def test_wrong_usage_is_a_2(run: Run, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert "Usage:" in done.err


def test_the_clients_commands_import_neither_ray_nor_the_store() -> None:
    code = (
        "import sys; from raytasks.cli import main; "
        "print([m for m in ('ray', 'sqlalchemy', 'alembic', 'fastapi') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "raytasks", "list", "--url", "nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --url: 'nonsense'")
    assert "Traceback" not in done.stderr


class TestUpgrade:
    """`raytasks db upgrade`."""

    def test_it_makes_the_tables_and_can_be_repeated(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DATABASE_URL", "sqlite:///./mine.db")
        for _ in range(2):
            done = run("db", "upgrade")
            assert done.code == 0, done.err
            assert done.out == "the database is up to date\n"
        with sqlite3.connect(tmp_path / "mine.db") as database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            names = {name for (name,) in rows}
        database.close()
        assert {"tasks", "alembic_version"} <= names

    @pytest.mark.parametrize(
        "url",
        [
            "nonsense",
            "mysql://host/name",
            "sqlite://",
            "sqlite:////nowhere/at/all/tasks.db",
            "postgresql://nobody:hunter2@127.0.0.1:1/none",
        ],
    )
    def test_a_database_that_cannot_be_used_is_one_line(self, run: Run, url: str) -> None:
        done = run("db", "upgrade", "--database-url", url)
        assert done.code not in (0, 1)
        assert done.err.startswith("error: RAYTASKS_DATABASE_URL: ")
        assert len(done.err.splitlines()) == 1
        assert "hunter2" not in done.err

    def test_a_bad_setting_is_named(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MAX_BACKLOG", "many")
        done = run("db", "upgrade")
        assert done.code == 2
        assert done.err.startswith("error: RAYTASKS_MAX_BACKLOG: ")


class TestDemo:
    """The parts of the demo that need no service; `tests/cluster` runs the whole of it."""

    def test_the_samples_make_a_task_of_each_type(self) -> None:
        payloads = demo.sample_payloads(demo._SAMPLES)
        assert payloads.keys() == {
            "text_processing", "ai_summarization", "batch_processing", "image_processing", "flaky"
        }  # fmt: skip
        assert payloads["image_processing"]["image_url"].startswith("data:image/jpeg;base64,")

    def test_the_error_of_a_task_that_failed_is_shown(self) -> None:
        task = {
            "task_type": "flaky",
            "state": "FAILED",
            "error": {"type": "ConnectionError", "message": "the line is dead"},
        }
        assert demo.summary_of(task, "") == {"error": "ConnectionError: the line is dead"}
        assert demo.summary_of({**task, "state": "CANCELLED", "error": None}, "")["error"]

    def test_the_statistics_are_told_in_short(self) -> None:
        result = {
            "operation": "statistics",
            "processed_count": 2,
            "failed_count": 0,
            "statistics": {"count": 2, "mean": 1.23456789, "stdev": None, "percentiles": {"p5": 1}},
        }
        task = {"task_type": "batch_processing", "state": "COMPLETED", "result": result}
        told = demo.summary_of(task, "")
        assert told["statistics"] == "count 2, mean 1.23457, p5 1"
        assert told["processed_count"] == 2

    def test_the_picture_is_told_with_its_files_and_urls(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ARTIFACTS_URL", str(tmp_path))
        facts = {"width": 3, "height": 2, "format": "JPEG", "bytes": 1234}
        result = {
            "original": facts,
            "resized": facts,
            "compressed": facts,
            "resized_url": "/artifacts/id/resized.jpg",
            "compressed_url": "/artifacts/id/compressed.jpg",
            "analysis": {
                "dominant_colors": [{"hex": "#ff0000", "fraction": 0.75}],
                "brightness": 0.5,
                "sharpness": 7.0,
                "perceptual_hash": "00ff",
            },
        }
        task = {"task_type": "image_processing", "state": "COMPLETED", "result": result}
        told = demo.summary_of(task, "http://host")
        assert told["colors"] == "#ff0000 75%"
        assert told["resized"] == "3×2 JPEG, 1,234 bytes"
        assert told["resized file"] == tmp_path / "id" / "resized.jpg"
        assert told["compressed URL"] == "http://host/artifacts/id/compressed.jpg"
        without = demo.summary_of(task, None)
        assert told.keys() - without.keys() == {"resized URL", "compressed URL"}

    @pytest.mark.parametrize("url", [None, "http://127.0.0.1:9"])
    def test_it_shows_links_only_to_a_service_that_stays(
        self, url: str | None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        demo._say_how_to_go_on("All 5 tasks are COMPLETED.", url)
        links = set(re.findall(r"https?://[^\s/]+", capsys.readouterr().out))
        assert links == ({url} if url else set())

    def test_it_names_the_command_as_it_can_be_called(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        command = tmp_path / "bin" / "raytasks"
        command.parent.mkdir()
        command.write_text("#!/bin/sh\n")
        command.chmod(0o755)
        monkeypatch.setattr(sys, "argv", [str(command), "demo"])
        monkeypatch.setenv("PATH", "/nowhere")
        monkeypatch.chdir(tmp_path)
        assert demo.command_name() == "bin/raytasks"
        monkeypatch.setenv("PATH", str(command.parent))
        assert demo.command_name() == "raytasks"
        monkeypatch.setenv("PATH", "/nowhere")
        monkeypatch.chdir("/usr")
        assert demo.command_name() == str(command)
        monkeypatch.setattr(sys, "argv", ["/somewhere/raytasks/__main__.py", "demo"])
        assert demo.command_name() == "python -m raytasks"
