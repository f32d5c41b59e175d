"""Third-party files are what the lock files name, and what their npm packages have."""

import hashlib
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import vendoring

ALL = [
    pytest.param(folder, name, package, id=name)
    for folder in vendoring.FOLDERS
    for name, package in vendoring.lock_of(folder).items()
]
LICENSES = {"Apache-2.0", "MIT", "MPL-2.0"}


@pytest.mark.parametrize("folder", vendoring.FOLDERS)
def test_nothing_else_lies_there(folder: Path) -> None:
    named = {
        f"{name}/{path}" for name, one in vendoring.lock_of(folder).items() for path in one["files"]
    }
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found - {"lock.json", "README.md"} == named


@pytest.mark.parametrize(("folder", "name", "package"), ALL)
def test_it_is_what_the_lock_names(folder: Path, name: str, package: dict[str, Any]) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", package["version"])
    assert package["license"] in LICENSES
    assert re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", package["integrity"])
    assert "LICENSE" in package["files"]
    for path, digest in package["files"].items():
        assert hashlib.sha256((folder / name / path).read_bytes()).hexdigest() == digest, path


@pytest.mark.skipif(not vendoring.can_ask(), reason="npm is not here to ask for the packages")
@pytest.mark.parametrize(("folder", "name", "package"), ALL)
def test_it_is_what_npm_has(folder: Path, name: str, package: dict[str, Any]) -> None:
    try:
        packed = vendoring.tarball(name, package["version"])
    except subprocess.CalledProcessError as error:
        pytest.skip(f"npm does not give the package: {error.stderr[-200:]!r}")
    assert vendoring.integrity_of(packed) == package["integrity"]
    for path, data in vendoring.taken(packed, package).items():
        assert (folder / name / path).read_bytes() == data, path
