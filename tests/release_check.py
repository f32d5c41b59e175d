"""Checks that a release can be made: `make release-check`, or with `VERSION=0.2.0` for that one.

It builds both packages as they would be published, looks at their metadata, installs them into
fresh environments, and compares the version with CHANGELOG.md and the lock files with
`pyproject.toml`. Nothing is uploaded, and no file of the checkout changes.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from raytasks import __version__
from tests.fresh_environment import ROOT, Environment, build

PROJECTS = {"raytasks-client": ROOT / "client", "raytasks": ROOT}
LOCKS = {
    "requirements.txt": [],
    "requirements-docs.txt": ["--group", "docs", "-c", "requirements.txt"],
    "requirements-dev.txt": [
        *("--group", "dev", "-c", "requirements.txt"),
        *("-c", "requirements-docs.txt"),
    ],
    "requirements-bench.txt": ["--group", "bench", "-c", "requirements-dev.txt"],
}
"""The lock files, with what `make requirements` says for each beside the common options."""

_LOCK = (
    "--universal",
    "--no-header",
    "--extra",
    "handlers",
    "--no-emit-package",
    "raytasks-client",
)
_UNRELEASED = "Unreleased"
_HEADING = re.compile(r"^## (\S+)(?: \((\d{4}-\d\d-\d\d)\))?$", re.MULTILINE)

CLIENT = (
    "import raytasks.client as c; from raytasks import handler, Context; print(c.Client.__name__)"
)
SERVICE = (
    "import raytasks.cli, raytasks.service, raytasks.serve_app, raytasks.testing, raytasks as r"
)


class NotReady(Exception):
    """A release cannot be made. The text says what is wrong, and what to do."""


def check_changelog(text: str, version: str, *, final: bool) -> str:
    """Return what to tell of CHANGELOG.md. Raises `NotReady` where it is not that of the version.

    A `final` one begins with the version and a date. Otherwise changes may be unreleased: they
    stand above the version that was released last, which is then this one.
    """
    sections = _HEADING.findall(text)
    names = [name for name, _ in sections]
    if final:
        if not sections or names[0] != version or not sections[0][1]:
            raise NotReady(f"CHANGELOG.md must begin with '## {version} (YYYY-MM-DD)'")
        return f"CHANGELOG.md begins with {version}"
    numbered = [name for name in names if name != _UNRELEASED]
    if not names or (numbered and numbered[0] != version):
        found = numbered[0] if numbered else "nothing"
        raise NotReady(
            f"raytasks/__init__.py has the version {version}, and the newest one of CHANGELOG.md "
            f"is {found}; make them agree"
        )
    if names[0] == _UNRELEASED:
        return "CHANGELOG.md has unreleased changes: they get a version and a date before a release"
    return f"CHANGELOG.md begins with {version}"


def check_version(wanted: str | None) -> str:
    """Return the version. Raises `NotReady` for another one than is wanted."""
    if wanted not in (None, __version__):
        raise NotReady(
            f"raytasks/__init__.py has the version {__version__}, not {wanted}; change it there, "
            "and the pin of raytasks-client in pyproject.toml"
        )
    return f"the version is {__version__}"


def check_locks(folder: Path) -> str:
    """Lock again, without upgrades, and compare. Raises `NotReady` where a file would change."""
    for name, options in LOCKS.items():
        again = folder / name
        shutil.copy(ROOT / name, again)
        _run([_tool("uv"), "pip", "compile", "--quiet", *_LOCK, *options, "pyproject.toml",
              "-o", str(again)], "the lock files cannot be made")  # fmt: skip
        if again.read_text() != (ROOT / name).read_text():
            raise NotReady(f"{name} does not fit pyproject.toml: run 'make requirements'")
    return f"{len(LOCKS)} lock files fit pyproject.toml"


def build_all(folder: Path) -> str:
    """Build the sdists, and of each its wheel. Raises `NotReady`."""
    for name, project in PROJECTS.items():
        built = build(folder, project)
        if built.returncode:
            raise NotReady(f"{name} cannot be built:\n{built.stderr}")
    found = sorted(path.name for path in folder.iterdir() if path.suffix in (".gz", ".whl"))
    stems = [f"{name.replace('-', '_')}-{__version__}" for name in PROJECTS]
    wanted = sorted(f"{stem}{end}" for stem in stems for end in (".tar.gz", "-py3-none-any.whl"))
    if found != wanted:
        raise NotReady(f"built were {', '.join(found)}, and not {', '.join(wanted)}")
    return f"built: {', '.join(found)}"


def check_metadata(folder: Path) -> str:
    """Have twine judge the metadata, as the index will. Raises `NotReady`."""
    files = [str(path) for path in sorted(folder.glob("raytasks*"))]
    _run([_tool("twine"), "check", "--strict", *files], "the metadata is not valid")
    return f"the metadata of {len(files)} files is valid"


def check_install(folder: Path, name: str, program: str) -> str:
    """Install a package with all that it needs, and import it. Raises `NotReady`."""
    environment = Environment.make(folder / f"venv-{name}")
    try:
        environment.install("--find-links", str(folder), f"{name}=={__version__}")
        told = environment.run(program)
    except (AssertionError, subprocess.CalledProcessError) as error:
        raise NotReady(
            f"{name} cannot be installed and imported: {getattr(error, 'stderr', None) or error}"
        ) from None
    return f"{name} installs ({environment.size() / 1e6:.1f} MB) and imports: {' '.join(told)}"


def steps(folder: Path, wanted: str | None) -> Sequence[Callable[[], str]]:
    """Return the checks in their order, the quick ones first."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version = f"{SERVICE}; print(r.__version__, r.submit.__name__)"
    return (
        partial(check_version, wanted),
        partial(check_changelog, changelog, __version__, final=wanted is not None),
        partial(check_locks, folder),
        partial(build_all, folder),
        partial(check_metadata, folder),
        partial(check_install, folder, "raytasks-client", CLIENT),
        partial(check_install, folder, "raytasks", version),
    )


def main() -> int:
    """Run all checks, say of each how it went, and return 0 if all are well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", help="what is to be released; by default only what is there")
    wanted = parser.parse_args().version or None
    code = 0
    with tempfile.TemporaryDirectory(prefix="raytasks-release-") as folder:
        for step in steps(Path(folder), wanted):
            try:
                print(f"ok: {step()}", flush=True)
            except NotReady as error:
                print(f"error: {error}", file=sys.stderr, flush=True)
                code = 1
    return code


def _tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _run(command: Sequence[str], wrong: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotReady(f"{wrong}:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
