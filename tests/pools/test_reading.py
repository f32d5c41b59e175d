"""Reading the handlers: whatever a module does when it is imported, there is one clear line."""

import sys
from pathlib import Path

import pytest

from raytasks.handling.registry import Registry
from raytasks.model.errors import HandlerError
from raytasks.pools.handlers_version import HandlersVersion
from raytasks.pools.inspection import Expected, compare, inspect
from raytasks.pools.reading import read_version
from raytasks.settings import Settings

GOOD = "from raytasks import handler\n\n@handler('x')\ndef x(payload: dict) -> int:\n    return 1\n"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The name of a package whose module `bad` has the test's body."""
    name = f"read_{tmp_path.name.replace('-', '_')}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "bad.py").write_text(request.param)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def read(name: str, seconds: float = 60.0) -> HandlersVersion:
    return read_version(Settings(_env_file=None, task_modules=(name,)), seconds)


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("import sys\nsys.exit(0)", r"calls sys.exit\(0\) when it is imported"),
        ("raise SystemExit", r"calls sys.exit\(\) when"),
        ("import os\nos._exit(0)", "ended the process when it was imported: exit status 0"),
        ("import ctypes\nctypes.string_at(0)", "ended the process .*: killed by SIGSEGV"),
        ("class Odd(BaseException): ...\nraise Odd('x')", "failed to import: Odd: x"),
        ("raise KeyboardInterrupt", "failed: KeyboardInterrupt"),
        ("import nothing_like_it.x", "needs 'nothing_like_it', not installed"),
        (
            "class E(Exception):\n def __str__(self): raise SystemExit\nraise E",
            "failed to import: E",
        ),
    ],
    indirect=["module"],
)
def test_a_module_that_cannot_be_imported(module: str, told: str) -> None:
    with pytest.raises(HandlerError, match=rf"handler module '{module}.bad' {told}"):
        read(module)


@pytest.mark.parametrize("module", ["import time\ntime.sleep(600)"], indirect=True)
def test_a_module_that_never_ends(module: str) -> None:
    with pytest.raises(HandlerError, match="its import did not end in 2 s"):
        read(module, 2.0)


@pytest.mark.parametrize(
    "module",
    [GOOD + "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\n"],
    indirect=True,
)
def test_a_build_has_a_token_of_its_own_and_a_fingerprint_that_all_find(module: str) -> None:
    one, two = read(module), read(module)
    assert one.token != two.token
    assert one.generation == two.generation
    assert one.task_types == ("x",)
    assert module not in sys.modules  # it was read elsewhere
    expected = Expected((module,), ("x",), one.fingerprint)
    (Path(sys.path[0]) / module / "bad.py").write_text(GOOD)
    assert "the code there is another one" in (inspect(expected) or "")


@pytest.mark.parametrize("module", ["import sys\nsys.exit(3)"], indirect=True)
def test_a_trial_survives_what_the_modules_do(module: str) -> None:
    expected = Expected((module,), ("x",), "f")
    assert (
        inspect(expected) == f"handler module '{module}.bad' calls sys.exit(3) when it is imported"
    )
    with pytest.raises(HandlerError, match=r"sys\.exit"):  # runners and replicas load it like this
        Registry.load([module])


def test_a_trial_compares_what_it_finds() -> None:
    expected = Expected(("m",), ("a", "b"), "f1")
    assert compare(expected, ("a", "b"), "f1") is None
    assert "no handler for b" in (compare(expected, ("a",), "f1") or "")
    assert "also a handler for c" in (compare(expected, ("a", "b", "c"), "f1") or "")
    assert "another one (f2)" in (compare(expected, ("a", "b"), "f2") or "")
