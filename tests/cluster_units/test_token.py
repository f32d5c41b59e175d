"""Ray's token: where it is looked for, and how it is made."""

import os
import stat
from pathlib import Path

import pytest

from raytasks.cluster import token as ray_token


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a token, and an environment without one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def mode_of(file: Path) -> int:
    """Return who may do what with a file."""
    return stat.S_IMODE(file.stat().st_mode)


def test_it_is_made_where_ray_looks_for_its_owner_alone(home: Path) -> None:
    assert not ray_token.has_token()
    mask = os.umask(0)
    try:
        ray_token.make_token()
    finally:
        os.umask(mask)
    file = home / ".ray" / "auth_token"
    assert len(file.read_text()) == 64
    assert (mode_of(file), mode_of(file.parent)) == (0o600, 0o700)
    assert ray_token.has_token()
    assert [item.name for item in file.parent.iterdir()] == ["auth_token"]


def test_one_that_is_there_stays_and_is_closed_to_others(home: Path) -> None:
    file = home / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text("mine")
    file.chmod(0o644)
    ray_token.make_token()
    assert file.read_text() == "mine"
    assert mode_of(file) == 0o600


def test_another_file_counts_and_keeps_its_mode(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = home / "shared"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
    ray_token.make_token()
    assert len(file.read_text()) == 64
    file.chmod(0o640)
    ray_token.make_token()
    assert mode_of(file) == 0o640
    assert not (home / ".ray").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("RAY_AUTH_TOKEN", "x"), ("RAY_AUTH_MODE", "disabled")]
)
def test_none_is_made_where_none_is_needed(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    ray_token.make_token()
    assert not (home / ".ray").exists()
    assert ray_token.is_wanted() is (name == "RAY_AUTH_TOKEN")
    assert ray_token.has_token() is (name == "RAY_AUTH_TOKEN")


def test_the_mode_of_the_user_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "x")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    ray_token.use_token()
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
