"""Examples and commands in README and docs of 0.1.0 still work, with the imports that moved.

Where a name has moved, `docs/upgrading.md` says where it is now; the blocks are changed by that.
"""

import asyncio
import functools
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import typer.main

import raytasks
import raytasks.client
from raytasks.cli import app
from raytasks.testing import Queue
from tests.played_service import play
from tests.testing_kit.own_pytest import ROOT, run_pytest

FOLDER = Path(__file__).parent / "blocks_0_1"
TEXTS = {file.stem: file.read_text(encoding="utf-8") for file in FOLDER.glob("*.md")}
BLOCKS = {
    name: re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S) for name, text in TEXTS.items()
}
PYTHON = {
    name: [code for language, code in blocks if language == "python"]
    for name, blocks in BLOCKS.items()
}
LINES = sorted(
    {
        line
        for blocks in BLOCKS.values()
        for language, code in blocks
        if language != "python"
        for line in code.splitlines()
    }
)
COMMANDS = [line for line in LINES if re.search(r"(^|[/ ])raytasks [a-z]", line)]
COMMANDS = [line for line in COMMANDS if not line.startswith("make ")]
TARGETS = [line.split()[1] for line in LINES if line.startswith("make ")]


MOVES = re.findall(
    r"^\| `(raytasks\.[\w.]+)\.(\w+)`[^|]*\| `(raytasks[\w.]*)\.\2`",
    (ROOT / "docs/upgrading.md").read_text(encoding="utf-8"),
    re.M,
)
"""The names that have moved: the old module, the name, and the new module."""


def upgraded(code: str) -> str:
    """Return a block as `docs/upgrading.md` says to change it."""
    for old, _, new in MOVES:
        code = re.sub(rf"^from {re.escape(old)} import ", f"from {new} import ", code, flags=re.M)
    return code


def run(code: str) -> dict[str, Any]:
    """Run a block as a script, and return its names."""
    names: dict[str, Any] = {"__name__": "block"}
    exec(compile(code, "block", "exec"), names)
    return names


def test_all_blocks_are_run_here() -> None:
    count = {name: len(blocks) for name, blocks in PYTHON.items() if blocks}
    assert count == {"README": 4, "client": 5, "events": 1, "testing": 4}
    assert len(COMMANDS) == 20
    assert len(TARGETS) == 6


@pytest.mark.parametrize("number", range(5))
def test_the_client(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Client", "AsyncClient"):
        client = getattr(raytasks.client, name)
        played = functools.partial(client, transport=httpx.MockTransport(play))
        monkeypatch.setattr(raytasks.client, name, played)
    run(PYTHON["client"][number])


def test_a_stream_that_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The block of docs/events.md is a loop without an end: it is left at its second round."""
    with Queue(["raytasks.builtin.text_processing"]) as queue:
        task = queue.submit("text_processing", {"text": "Ray moves the work."})
        queue.run_until_idle()
        asked: list[dict[str, str]] = []

        class Done(Exception):
            pass

        def stream(method: str, url: str, headers: dict[str, str]) -> Any:
            if asked:
                raise Done
            asked.append(headers)
            return queue.http.stream(method, url, headers=headers)

        monkeypatch.setattr(httpx, "stream", stream)
        names = {"httpx": httpx, "url": f"/tasks/{task.task_id}/events"}
        with pytest.raises(Done):
            exec(PYTHON["events"][0], names)
    assert asked == [{}]


def test_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    over_http, in_the_cluster, declaration, _ = PYTHON["README"]
    ray = ModuleType("ray")
    ray.init = lambda address: None  # type: ignore[attr-defined]
    ray.get = lambda ref: asyncio.run(ref._result())  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "ray", ray)
    with Queue(["raytasks.builtin.text_processing"]) as queue:
        client = functools.partial(raytasks.client.Client, transport=queue.transport)
        monkeypatch.setattr(raytasks.client, "Client", client)
        run(over_http)
        run(in_the_cluster)
    over_http_said, in_the_cluster_said = capsys.readouterr().out.splitlines()
    assert "'word_count': 4" in over_http_said
    assert in_the_cluster_said.endswith(over_http_said)
    shout = run(declaration)["shout"]
    with Queue([shout]) as queue:
        task = queue.submit("shout", {"text": "hello"})
        queue.run_until_idle()
        assert task.result == {"text": "HELLO"}


def test_the_readme_tests_a_handler(tmp_path: Path) -> None:
    _, _, declaration, test = PYTHON["README"]
    (tmp_path / "handlers.py").write_text(declaration)
    (tmp_path / "test_shout.py").write_text(test)
    done = run_pytest(tmp_path)
    assert "1 passed in" in done.stdout, done.stdout + done.stderr


def test_the_test_kit(tmp_path: Path) -> None:
    for block in PYTHON["testing"]:
        name = re.match(r"# (\w+\.py)\n", block)
        assert name is not None
        (tmp_path / name[1]).write_text(upgraded(block))
    done = run_pytest(tmp_path, "-W", "error::DeprecationWarning")
    tests = sum(block.count("\ndef test_") for block in PYTHON["testing"])
    assert f"{tests} passed in" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_understood(line: str) -> None:
    words = shlex.split(line, comments=True)
    arguments = words[next(n for n, word in enumerate(words) if word.endswith("raytasks")) + 1 :]
    command: Any = typer.main.get_command(app)
    while True:  # it is read as the command line reads it, and not run
        context = command.make_context("raytasks", arguments)
        if not hasattr(command, "resolve_command"):
            return
        _, command, arguments = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_is_there(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)


@pytest.mark.parametrize(("old", "name", "new"), MOVES)
def test_what_has_moved_is_in_its_new_place_only(old: str, name: str, new: str) -> None:
    assert name in run(f"from {new} import {name}")
    with pytest.raises(ModuleNotFoundError):
        run(f"import {old}")


def test_the_moves_are_read() -> None:
    assert [name for _, name, _ in MOVES] == ["InvalidSubmission", "RaytasksError", "mermaid"]


def test_serve_finds_the_application() -> None:
    assert (ROOT / "serve_app.py").is_file()
