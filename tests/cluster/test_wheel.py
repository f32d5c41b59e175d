"""The installed wheels: a user's own project, and the demo, with real Ray.

The wheels are built here, and are the only raytasks in a fresh environment. Their dependencies
come from the environment of the tests, without those that only `raytasks[handlers]` brings. Of
these numpy stays: Ray Serve has it, too. The test of `make demo` has the extra. The project's
folder has a name that breaks what can be broken.
"""

import os
import re
import signal
import subprocess
import sys
import sysconfig
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.conftest import START_SECONDS, STOP_SECONDS
from tests.ports import quiet_port

# On a busy machine; alone they take about a minute.
pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("no_service")]

ROOT = Path(__file__).parents[2]
ODD_NAME = "a dir with spaces % # ? é"
WITHOUT_EXTRA = {"batch_processing", "text_processing"}
EXTRA = {"PIL", "pillow.libs", "snowballstemmer", "stopwordsiso"}
LEFT_OUT = (
    "not installed: ai_summarization and image_processing; pip install 'raytasks[handlers]' adds "
    "them"
)

FIRST_SECONDS = 60.0
"""How long it may take from `raytasks init` until one has seen the first result."""

SHOUT = """
from pydantic import BaseModel
from raytasks import Context, handler
from shop.words import MARK

class Text(BaseModel):
    text: str

@handler("shout")
def shout(payload: Text, context: Context) -> str:
    return payload.text.upper() + MARK

@handler("shout_alone", isolated=True)
def shout_alone(payload: Text) -> str:
    return payload.text.upper() + MARK
"""

CHARGE = """
from raytasks import handler

@handler("charge")
def charge(payload: dict) -> int:
    return payload["amount"]

@handler("charge_alone", isolated=True)
def charge_alone(payload: dict) -> int:
    return payload["amount"]
"""

DRIVER = """
import ray, raytasks
ray.init(address="auto", log_to_driver=False)
print(ray.get(raytasks.submit("shout", {"text": "from a driver"}).ref))
"""


@dataclass(frozen=True)
class Installed:
    """A virtual environment in which the wheel is."""

    python: Path
    folder: Path

    @property
    def command(self) -> str:
        """The `raytasks` command."""
        return str(self.python.with_name("raytasks"))

    def environment(self, **more: str) -> dict[str, str]:
        """Return variables without any that could lead to the checkout."""
        kept = ("HOME", "LANG", "TMPDIR")
        return {
            **{name: value for name, value in os.environ.items() if name in kept},
            "PATH": f"{self.python.parent}{os.pathsep}{os.defpath}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "ray-token"),
            **more,
        }

    def run(self, command: list[str], folder: Path, **more: str) -> str:
        """Run a command there to its good end, and return what it prints."""
        done = subprocess.run(
            command,
            cwd=folder,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheels of this checkout, in an environment of their own."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    for project in (ROOT, ROOT / "client"):
        subprocess.run(build, cwd=project, check=True, capture_output=True)
    wheels = map(str, folder.glob("*.whl"))
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin" / "python"
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--no-deps"]
    subprocess.run([*uv, "--python", str(python), *wheels], check=True)
    # A path in a .pth file is added as it is: the .pth of an editable install there has no effect.
    [packages] = venv.glob("lib/python*/site-packages")
    dependencies = folder / "dependencies"
    dependencies.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if path.name not in EXTRA:
            (dependencies / path.name).symlink_to(path)
    (packages / "dependencies.pth").write_text(f"{dependencies}\n")
    return Installed(python, folder)


@contextmanager
def up(installed: Installed, folder: Path) -> Iterator[tuple[httpx.Client, str]]:
    """Run `raytasks up` in a folder; give a client of it, and Ray's address."""
    port = quiet_port()
    log = installed.folder / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [installed.command, "up", f"--port={port}", "--num-cpus=2"],
            cwd=folder,
            env=installed.environment(STOP_GRACE_SECONDS="1"),
            stdout=output,
            stderr=output,
        )
    deadline = time.monotonic() + START_SECONDS
    while "Ctrl-C" not in log.read_text():  # the last line of the announcement
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"the service did not start:\n{log.read_text()}")
        time.sleep(0.1)
    url = f"http://127.0.0.1:{port}"
    address = log.read_text().partition("--address ")[2].split()[0]
    try:
        with httpx.Client(base_url=url, timeout=70, trust_env=False) as http:
            yield http, address
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_SECONDS) == 0, log.read_text()


def result_of(http: httpx.Client, task_type: str, payload: Any) -> Any:
    answer = http.post("/tasks/", json={"task_type": task_type, "payload": payload})
    assert answer.status_code == 202, answer.text
    task = http.get(f"/tasks/{answer.json()['task_id']}", params={"wait": 60}).json()
    assert task["state"] == "COMPLETED", task
    return task["result"]


def write(folder: Path, **modules: str) -> None:
    for name, text in modules.items():
        file = folder / name.replace("__", "/", 1)
        file = file.with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))


def slowdown() -> float:
    """Return by how much the rest of the machine's work slows this test down; at least 1."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def test_only_the_wheel_is_there(installed: Installed, tmp_path: Path) -> None:
    code = """
        import importlib.util, raytasks, raytasks.serve_app
        print(raytasks.__file__)
        print([n for n in ("handlers", "samples", "tests") if importlib.util.find_spec(n)])
        print(callable(raytasks.serve_app.app))
    """
    told = installed.run([str(installed.python), "-c", textwrap.dedent(code)], tmp_path)
    place, *rest = told.splitlines()
    assert Path(place).is_relative_to(installed.python.parents[1])
    assert rest == ["[]", "True"]
    assert (Path(place).parent / "py.typed").exists()


def test_a_project_of_ones_own(installed: Installed, tmp_path: Path) -> None:
    """It begins as the first minutes of a new user do: `init`, `up`, `submit`, `list`, the page."""
    project = tmp_path / ODD_NAME
    began = time.monotonic()
    installed.run([installed.command, "init", ODD_NAME], tmp_path)
    write(project, handlers__shout=SHOUT, shop__words="MARK = '!'")
    with up(installed, project) as (http, address):
        url = {"RAYTASKS_URL": str(http.base_url)}
        submit = [installed.command, "submit", "greeting", '{"name": "Ada"}', "--wait"]
        assert "Hello, Ada!" in installed.run(submit, project, **url)
        assert "greeting" in installed.run([installed.command, "list"], project, **url)
        assert (
            "<title>" in http.get("/", headers={"Accept": "text/html"}, follow_redirects=True).text
        )
        assert time.monotonic() - began < FIRST_SECONDS * slowdown()

        types = {item["task_type"] for item in http.get("/task-types").json()["task_types"]}
        assert types == {"greeting", "shout", "shout_alone"}
        assert result_of(http, "shout", {"text": "hello"}) == "HELLO!"
        assert result_of(http, "shout_alone", {"text": "hello"}) == "HELLO!"
        assert http.get("/docs").status_code == 200

        write(project, driver=DRIVER)
        driver = [str(installed.python), "driver.py"]
        told = installed.run(driver, project, RAY_ADDRESS=address)
        assert told.splitlines()[-1] == "FROM A DRIVER!"
    kept = {path.name for path in project.iterdir() if not path.name.startswith("tasks.db-")}
    written = {"handlers", "tests", ".env", "README.md"}
    assert (
        {"tasks.db", *written} <= kept <= {"tasks.db", *written, "shop", "driver.py", "artifacts"}
    )
    assert {path.name for path in tmp_path.iterdir()} == {ODD_NAME}


@pytest.mark.slow
def test_what_is_deployed_from_another_folder_is_loaded_from_there(
    installed: Installed, tmp_path: Path
) -> None:
    """The folder of the service has modules of the same names."""
    project = tmp_path / ODD_NAME
    write(project, handlers____init__="", handlers__shout=SHOUT, shop__words="MARK = '!'")
    with up(installed, project) as (http, address):
        assert result_of(http, "shout", {"text": "hello"}) == "HELLO!"
        other = tmp_path / "other"
        write(other, handlers____init__="", handlers__shout=SHOUT, shop__words="MARK = '?'")
        write(other, shop__tasks=CHARGE)
        deploy = [installed.command, "deploy", f"--address={address}"]
        told = installed.run(deploy, other, TASK_MODULES="handlers,shop.tasks")
        assert "charge" in told
        for task_type in ("shout", "shout_alone"):
            assert result_of(http, task_type, {"text": "hello"}) == "HELLO?"
        for task_type in ("charge", "charge_alone"):
            assert result_of(http, task_type, {"amount": 3}) == 3


@pytest.mark.slow
def test_the_demo_without_the_extra(installed: Installed, tmp_path: Path) -> None:
    told = installed.run([installed.command, "demo"], tmp_path)
    completed = set(re.findall(r"(\w+): COMPLETED", told))
    assert completed == WITHOUT_EXTRA | {"flaky"}
    assert told.count(LEFT_OUT) == told.count("raytasks[handlers]") == 1
    assert "raytasks up " in told
    shown = told.partition("POST /tasks/")[2]
    assert not re.search("https?://", shown)  # the service has stopped
    assert {path.name for path in tmp_path.iterdir()} == {"artifacts"}


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        ("shop.tasks", "error: handler module 'shop.tasks' not found: looked in {} and on"),
        ("", "error: no handler found in handlers (looked in {}); declare one there"),
    ],
)
def test_what_is_not_there_is_told(
    installed: Installed, tmp_path: Path, modules: str, said: str
) -> None:
    (tmp_path / "handlers").mkdir()
    done = subprocess.run(
        [installed.command, "up"],
        cwd=tmp_path,
        env=installed.environment(TASK_MODULES=modules),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(said.format(tmp_path))
    assert len(done.stderr.splitlines()) == 1
