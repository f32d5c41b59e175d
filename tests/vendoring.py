"""Copy third-party files out of their npm packages: `python -m tests.vendoring [NAME@VERSION ...]`.

A `lock.json` names packages. Each has its version, its licence, and npm's `integrity` of the
tarball; of every file that is taken, the SHA-256. Browsers do not resolve bare imports: `patches`
lists texts that are replaced in a file.
"""

import base64
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from raytasks.web import VENDOR

FOLDERS = (VENDOR, Path(__file__).parent / "web" / "vendor")
"""The folders with third-party files: those of the wheel, and those that only tests need."""


def lock_of(folder: Path) -> dict[str, Any]:
    """Return the lock file of a folder: package by name."""
    lock: dict[str, Any] = json.loads((folder / "lock.json").read_text())
    return lock


def can_ask() -> bool:
    """Return whether npm is here, so that packages can be had."""
    return shutil.which("npm") is not None


def tarball(name: str, version: str) -> bytes:
    """Return the package's tarball. Raises `CalledProcessError` if npm does not give it."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", f"{name}@{version}"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=100)
        [file] = Path(folder).iterdir()
        return file.read_bytes()


def integrity_of(packed: bytes) -> str:
    """Return the hash of a tarball as npm writes it."""
    return "sha512-" + base64.b64encode(hashlib.sha512(packed).digest()).decode()


def taken(packed: bytes, package: dict[str, Any]) -> dict[str, bytes]:
    """Return the files that are taken from a tarball, patched, by their path in the package.

    Raises `ValueError` for a patch that does not fit.
    """
    files = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for path in package["files"]:
            found = archive.extractfile(f"package/{path}")
            assert found is not None, path
            data = found.read()
            for old, new in package.get("patches", {}).get(path, []):
                if old.encode() not in data:
                    raise ValueError(f"{path} does not contain {old!r}")
                data = data.replace(old.encode(), new.encode())
            files[path] = data
    return files


def vendor(folder: Path, name: str, package: dict[str, Any]) -> None:
    """Copy one package's files into the folder, and complete its part of the lock."""
    packed = tarball(name, package["version"])
    package["integrity"] = integrity_of(packed)
    shutil.rmtree(folder / name, ignore_errors=True)
    for path, data in taken(packed, package).items():
        file = folder / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        package["files"][path] = hashlib.sha256(data).hexdigest()


def main(asked: list[str]) -> None:
    """Copy these packages in these versions, or without any: all, in the versions of the locks."""
    versions = dict(item.rsplit("@", 1) for item in asked)
    for folder in FOLDERS:
        lock = lock_of(folder)
        for name, package in lock.items():
            if versions and name not in versions:
                continue
            package["version"] = versions.pop(name, package["version"])
            vendor(folder, name, package)
            print(f"{name} {package['version']}: {len(package['files'])} files")
        (folder / "lock.json").write_text(json.dumps(lock, indent=2) + "\n")
    if versions:
        sys.exit(f"no lock file names {', '.join(versions)}; add it to one of them first")


if __name__ == "__main__":
    main(sys.argv[1:])
