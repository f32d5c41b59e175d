"""Imports of Ray: only modules that must; a new module is held to it by default."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import raytasks

ROOT = Path(__file__).parents[2]

WITH_RAY = ("driver", "cluster", "pools", "serve_app", "service")
"""Packages and modules of raytasks that may import Ray, beside those in `on_ray` packages."""

PROGRAM = """
import importlib, json, sys
sys.modules["ray"] = None  # whoever imports it fails
failed = {}
for name in json.loads(sys.argv[1]):
    try:
        importlib.import_module(name)
    except ImportError as error:
        failed[name] = str(error)
print(json.dumps(failed))
"""


def modules() -> list[str]:
    """Return the names of all modules that must do without Ray."""
    found = []
    for file in sorted((ROOT / "raytasks").rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if parts[-1] == "__main__" or "migrations" in parts or {"samples", "project"} & set(parts):
            continue
        if "on_ray" not in parts and (len(parts) == 1 or parts[1] not in WITH_RAY):
            found.append(".".join(parts))
    return found


def test_only_what_must_imports_ray() -> None:
    names = modules()
    assert len(names) > 100
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(names)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == {}


def said_by(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return done.stdout.strip()


def test_raytasks_itself_imports_nothing_until_it_is_asked() -> None:
    ours = "sorted(name for name in sys.modules if name.startswith('raytasks.'))"
    assert said_by(f"import sys, raytasks; print({ours})") == "[]"
    heavy = "{'ray', 'pydantic', 'sqlalchemy', 'fastapi', 'httpx'} & set(sys.modules)"
    assert said_by(f"import sys, raytasks; raytasks.RetryPolicy; print({heavy})") == "set()"
    declared = "raytasks.handler('a')(lambda payload, context: None)"
    program = f"import sys, raytasks; raytasks.Context, raytasks.Cancelled; {declared}"
    assert said_by(f"{program}; print({heavy})") == "set()"


def test_a_command_that_only_calls_the_tracker_imports_neither_serve_nor_the_database() -> None:
    heavy = "{'ray.serve', 'fastapi', 'sqlalchemy', 'psycopg', 'alembic'} & set(sys.modules)"
    used = "raytasks.cluster.processes, raytasks.cluster.tracker_calls"
    for module in (used, "raytasks.runner.on_ray.warm_runner"):
        assert said_by(f"import sys, {module}; print({heavy})") == "set()"


def test_who_only_reads_sqlite_imports_neither_psycopg_nor_alembic() -> None:
    heavy = "{'psycopg', 'alembic'} & set(sys.modules)"
    assert said_by(f"import sys, raytasks.store.store; print({heavy})") == "set()"


@pytest.mark.parametrize("name", raytasks.__all__)
def test_each_name_is_there(name: str) -> None:
    assert getattr(raytasks, name).__name__ == name
    assert name in dir(raytasks)


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        raytasks.nothing  # noqa: B018
