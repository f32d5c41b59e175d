"""The two wheels: no file is in both, and the client's alone is enough to submit by function.

Both are built here and installed into fresh environments.
"""

import email
import json
import subprocess
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from raytasks import __version__
from tests.fresh_environment import ROOT, Environment, build
from tests.local_service import LocalService, served

MAX_BYTES = 10_000_000
NOT_IN_A_WHEEL = {"raytasks/builtin/samples/make_image.py"}
OF_PYTEST = {"pytest_plugin"}  # nobody but pytest imports it
WITH_PYDANTIC = {"handler_json", "hidden", "payload_checks", "strict_json"}
"""Modules of the client that need pydantic; nothing imports them before it is needed."""

pytestmark = pytest.mark.timeout(300)  # on a busy machine; alone they take some 10 seconds

HANDLERS = """
from pydantic import BaseModel, Field
from raytasks import (
    Cancelled, Context, Invocation, PermanentError, RaytasksError, RetryAfter, RetryPolicy, Snooze,
    handler, middleware,
)

class Script(BaseModel):
    lines: int = Field(default=0, ge=0)
    value: str

@middleware
def around(invocation: Invocation):
    yield

@handler("scripted", retry=RetryPolicy(max_attempts=2, never_retry=(KeyError,)), timeout=60)
async def scripted(payload: Script, context: Context) -> str:
    context.log.info("line")
    return payload.value

@handler("warm", actors=(1, 4))
class Warm:
    def __call__(self, payload: Script) -> None: ...
"""

SUBMITS = """
import asyncio, sys
from handlers.mail import Script, Warm, scripted
from raytasks.client import AsyncClient, Client, Invalid
assert "ray" not in sys.modules

url = sys.argv[1]
with Client(url) as client:
    task = client.submit(scripted, Script(value="by function", lines=2))
    print(client.wait(task["task_id"], timeout_seconds=60)["state"])
    print(client.run(scripted, {"value": "as a dict"})["result"]["attempt"])
    try:
        client.submit(Warm, Script(value=""))
    except Invalid as error:
        print(error.problem["detail"])

async def main():
    async with AsyncClient(url) as client:
        task = await client.run(scripted, Script(value="async"))
        print(task["payload"]["value"])

asyncio.run(main())
from raytasks.handling.declaration import handler_of
print(handler_of(scripted).payload.json_schema()["required"])
"""

WITHOUT_PYDANTIC = """
import asyncio, importlib, json, sys
from dataclasses import dataclass
import raytasks
from raytasks import Context, handler

@dataclass
class Script:
    value: str

@handler("scripted")
def scripted(payload: Script, context: Context) -> str:
    context.progress(0.5)
    return payload.value

for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
from raytasks.client import Client
print(scripted(Script("called"), Context("1", "scripted")))
with Client(sys.argv[2]) as client:
    print(client.run(scripted, Script("a dataclass"))["payload"]["value"])
for name in ("submit", "submit_many_async", "SubmittedTask"):
    try:
        getattr(raytasks, name)
    except ImportError as error:
        print(error)
assert not {"pydantic", "ray"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel of raytasks-client, and that of raytasks."""
    folder = tmp_path_factory.mktemp("wheels")
    for project in (ROOT / "client", ROOT):
        built = build(folder, project)
        assert built.returncode == 0, built.stderr
    return (
        folder / f"raytasks_client-{__version__}-py3-none-any.whl",
        folder / f"raytasks-{__version__}-py3-none-any.whl",
    )


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """A fresh environment, in which there is nothing."""
    return Environment.make(tmp_path / "venv")


def files_of(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def metadata_of(wheel: Path) -> "email.message.Message[str, str]":
    archive = zipfile.ZipFile(wheel)
    [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    return email.message_from_bytes(archive.read(name))


def test_each_file_is_in_one_of_them(wheels: tuple[Path, Path]) -> None:
    client, service = map(files_of, wheels)
    assert client & service == set()
    tree = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "raytasks"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    present = {name for name in tree.stdout.splitlines() if (ROOT / name).is_file()}
    assert client | service == present - NOT_IN_A_WHEEL


def test_one_needs_the_other_in_the_same_version(wheels: tuple[Path, Path]) -> None:
    client, service = map(metadata_of, wheels)
    assert client["Version"] == service["Version"] == __version__
    needed = [line for line in service.get_all("Requires-Dist", []) if "raytasks" in line]
    assert needed == [f"raytasks-client=={__version__}"]
    assert "raytasks" not in " ".join(client.get_all("Requires-Dist", []))


def test_another_version_of_the_other_cannot_be_built(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "raytasks").mkdir()
    (tmp_path / "raytasks" / "__init__.py").write_text('__version__ = "99.1"\n')
    (tmp_path / "raytasks" / "cli.py").write_text("")
    built = build(tmp_path, tmp_path)
    assert built.returncode != 0
    assert "the dependencies must have 'raytasks-client==99.1'" in built.stderr


@pytest.fixture
def url(sqlite_url: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a real service, whose `scripted` handler is that of the tests."""
    with served(LocalService(sqlite_url, tmp_path)) as address:
        yield address


def test_the_client_alone_is_light(
    wheels: tuple[Path, Path], environment: Environment, url: str
) -> None:
    environment.install(str(wheels[0]))
    assert environment.size() < MAX_BYTES
    names = [
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in sorted(files_of(wheels[0]))
        if name.endswith(".py") and Path(name).stem not in WITH_PYDANTIC | OF_PYTEST
    ]
    assert len(names) > 20

    told = environment.run(WITHOUT_PYDANTIC, json.dumps(names), url)
    assert told[:2] == ["called", "a dataclass"]
    assert told[2:] == [
        f"raytasks.{name} needs the package raytasks, and only raytasks-client is installed: "
        "pip install raytasks"
        for name in ("submit", "submit_many_async", "SubmittedTask")
    ]
    assert environment.size() < MAX_BYTES, "with the bytecode"


def test_the_client_submits_by_function(
    wheels: tuple[Path, Path], environment: Environment, url: str, tmp_path: Path
) -> None:
    environment.install(f"{wheels[0]}[pydantic]")
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "mail.py").write_text(HANDLERS)
    assert environment.run(SUBMITS, url, folder=tmp_path) == [
        "COMPLETED",
        "1",
        "there is no task type 'warm'",
        "async",
        "['value']",
    ]


CLIENT_IS_THERE = (
    "import raytasks.client as c, raytasks as r; print(r.handler, c.Client, r.Context)"
)
RAYTASKS = "import runpy; runpy.run_module('raytasks', run_name='__main__')"
PYTEST = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
STRICTLY = ("-q", "-W", "error", "-p", "no:asyncio", "-p", "no:cacheprovider")
ANY_END = "import sys, pytest; pytest.main(sys.argv[1:])"
WITHOUT_THE_KIT = "def test_passes() -> None: pass\n"
WITH_THE_KIT = "def test_needs_it(raytasks_queue) -> None: pass\n"
ALL_IS_THERE = f"import raytasks.settings, raytasks.protocol.codec; {CLIENT_IS_THERE}"


@pytest.mark.parametrize("installed", [(0, 1), (1, 0)], ids=["client-first", "service-first"])
def test_they_come_and_go_in_any_order(
    wheels: tuple[Path, Path],
    environment: Environment,
    installed: tuple[int, int],
    tmp_path: Path,
) -> None:
    # A path in a .pth file is added as it is: the .pth of an editable install there has no effect.
    dependencies = environment.packages / "dependencies.pth"
    dependencies.write_text(sysconfig.get_path("purelib") + "\n")
    names = ("raytasks-client", "raytasks")

    def install(which: int) -> None:
        environment.pip("install", "--no-deps", "--offline", str(wheels[which]))

    def remove(which: int) -> None:
        environment.pip("uninstall", names[which])

    for which in installed:
        install(which)
    environment.run(ALL_IS_THERE)
    shop = tmp_path / "shop"
    environment.run(RAYTASKS, "init", str(shop))
    assert "passed" in environment.run(PYTEST, *STRICTLY, folder=shop)[-1]

    remove(1)
    environment.run(CLIENT_IS_THERE)
    (tmp_path / "test_without.py").write_text(WITHOUT_THE_KIT)
    environment.run(PYTEST, *STRICTLY, "test_without.py", folder=tmp_path)
    (tmp_path / "test_with.py").write_text(WITH_THE_KIT)
    told = "\n".join(environment.run(ANY_END, *STRICTLY, "test_with.py", folder=tmp_path))
    assert "only raytasks-client is installed: pip install raytasks" in told
    kept = {path.name for path in (environment.packages / "raytasks").iterdir()}
    assert kept - {"__pycache__"} == {
        "__init__.py", "py.typed", "client", "handling", "model", "outbox", "pytest_plugin.py",
    }  # fmt: skip
    install(1)
    environment.run(ALL_IS_THERE)

    remove(0)
    assert not (environment.packages / "raytasks" / "client").exists()
    install(0)
    environment.run(ALL_IS_THERE)

    for which in installed:
        remove(which)
    assert not list((environment.packages).glob("raytasks*/**/*.py"))
