"""The image: its Dockerfile passes a linter, and its variables are those of `raytasks env`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from raytasks.cluster.environment import exports
from raytasks.settings import PREFIX, Settings
from tests.deploy.clean_root import is_sent
from tests.deploy.dockerfile import DOCKERFILE, ROOT, Stage, stages
from tests.deploy.schemas import command_names


@pytest.fixture(name="final")
def last_stage() -> Stage:
    """The stage that becomes the image."""
    return stages(DOCKERFILE.read_text())[-1]


def linted(file: Path) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).with_name("hadolint")), "--no-color", str(file)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_the_linter_finds_nothing(tmp_path: Path) -> None:
    done = linted(DOCKERFILE)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    broken = tmp_path / "Dockerfile"  # the linter sees what is wrong
    broken.write_text(DOCKERFILE.read_text().replace("\nUSER 1000:1000\n", "\nUSER root\n"))
    assert "DL3002" in linted(broken).stdout


def test_its_variables_are_those_of_raytasks_env(
    final: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "5e" * 32)
    for name in final.environment():
        if name.startswith("RAY_") and name != "RAY_AUTH_TOKEN":
            monkeypatch.delenv(name, raising=False)
    asked = {name: value for group in exports("0.0.0.0") for name, value in group.variables.items()}
    del asked["PYTHONPATH"]  # this directory here, and there /app
    ours = {name: value for name, value in final.environment().items() if name.startswith("RAY_")}
    varies = {name for name in asked if re.search("HAPROXY|_PORT$", name)}  # by what is free here
    assert ours.keys() == asked.keys()
    assert {name: ours[name] for name in ours.keys() - varies} == {
        name: asked[name] for name in asked.keys() - varies
    }
    assert final.environment()["PYTHONPATH"] == final.last("WORKDIR") == "/app"


def test_its_settings_exist_and_let_nobody_in(final: Stage) -> None:
    names = {name for name in final.environment() if name.startswith(PREFIX)}
    assert {name.removeprefix(PREFIX).lower() for name in names} <= set(Settings.model_fields)
    assert final.environment()["RAYTASKS_DEBUG"] == "false"
    assert "API_KEYS" not in DOCKERFILE.read_text().replace("(RAYTASKS_API_KEYS", "")


def test_it_is_not_root_and_looks_at_livez(final: Stage) -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", final.last("USER"))
    check = final.health_check()
    assert check[-1].endswith(":8000/livez")
    assert check[0] in next(step.rest for step in final.steps if "apt-get" in step.rest)


def test_its_commands_exist(final: Stage) -> None:
    program, command, *_ = final.command()
    assert program == "raytasks"
    assert command in command_names()
    head = ROOT / "deploy" / "raytasks-head"
    assert head.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", head], check=True)


def test_what_it_copies_is_there_and_sent() -> None:
    copied = [
        source
        for stage in stages(DOCKERFILE.read_text())
        for step in stage.steps
        if step.name == "COPY" and "from" not in step.options
        for source in step.rest.split()[:-1]
    ]
    assert len(copied) > 5
    for source in copied:
        assert (ROOT / source).exists(), source
        assert is_sent(source), source
    assert not is_sent(".env")
    assert not is_sent("tasks.db")
    assert not is_sent(".git")


def test_all_files_name_the_same_version_of_the_image() -> None:
    """It is the version of the newest section of the changes."""
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    files = [
        file for file in (ROOT / "deploy").rglob("*") if file.is_file() and file.suffix != ".pyc"
    ]
    found = [
        tag
        for file in [*files, ROOT / "docs" / "deployment.md"]
        for tag in re.findall(r"\braytasks:(\d[\w.]*)", file.read_text())
    ]
    assert len(found) > 8
    assert set(found) == {newest[1]}


def test_the_reader_of_dockerfiles() -> None:
    lines = ["# a", "FROM a AS b", "RUN x \\", "# c", " && y", "FROM c", "COPY --from=b /d /e"]
    first, last = stages("\n".join([*lines, "ENV F=1 \\", " G='2 3'", ""]))
    assert (first.base, first.name, first.steps[0].rest) == ("a", "b", "x && y")
    assert (last.base, last.steps[0].options, last.steps[0].rest) == ("c", {"from": "b"}, "/d /e")
    assert last.environment() == {"F": "1", "G": "2 3"}
    with pytest.raises(ValueError, match="before FROM"):
        stages("RUN x")
