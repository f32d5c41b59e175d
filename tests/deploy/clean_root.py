"""Runs the steps of `deploy/Dockerfile` in a clean Debian, as there is no container engine here.

    python -m tests.deploy.clean_root FOLDER

Only root can run it, on Debian, with `debootstrap` installed. It takes some minutes, and 3 GB in
FOLDER. It stands for `docker build` and `docker run`. Each stage has a root of its own, where COPY
and RUN are done. The image's CMD runs as the image's user, in a network of its own, until its
HEALTHCHECK passes and a task has run. The base is Debian's Python, not `python:3.11-slim-bookworm`.
"""

import fnmatch
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from string import Template

import psutil

from tests.deploy.dockerfile import DOCKERFILE, ROOT, Stage, Step, stages

_PACKAGES = "python3,python3-venv,ca-certificates"
_OF_THE_HOST = ("/etc/apt", "/etc/resolv.conf", "/etc/pip.conf", "/etc/ssl/certs")
_START_SECONDS = 300
_RUN = """
import json, os, urllib.request
def ask(path, body=None):
    request = urllib.request.Request("http://127.0.0.1:8000" + path, body)
    request.add_header("Authorization", "Bearer " + os.environ["KEY"])
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=70) as answer:
        return json.load(answer)
body = {"task_type": "text_processing", "payload": {"text": "one two three"}}
task = ask("/tasks/", json.dumps(body).encode())
print(ask("/tasks/" + task["task_id"] + "?wait=60"))
"""


class Image:
    """A stage that is built in a folder of its own: its root, variables, directory and user."""

    def __init__(self, base: Path, root: Path) -> None:
        subprocess.run(["cp", "--archive", "--reflink=auto", base, root], check=True)
        self.root = root
        self.variables = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"}
        self.directory = "/"
        self.user = "0:0"

    def inside(self, path: str) -> Path:
        """Return where a path of the image is."""
        return self.root / (Path(self.directory) / path).relative_to("/")

    def command(self, *argv: str, network: bool = True) -> list[str]:
        """Return a command that runs another one in the image, with its user and directory."""
        user, _, group = self.user.partition(":")
        chroot, ip = shutil.which("chroot"), shutil.which("ip")
        script = (
            f"mount --bind /dev {self.root}/dev && mount -t tmpfs tmpfs {self.root}/dev/shm && "
            f"{'' if network else f'{ip} link set lo up && '}"
            f"exec {chroot} --userspec={user}:{group or user} {self.root} "
            f'sh -c \'cd "$0" && exec "$@"\' {shlex.quote(self.directory)} {shlex.join(argv)}'
        )
        own = [] if network else ["--net"]
        spaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *own]
        return [*spaces, f"--mount-proc={self.root}/proc", "sh", "-c", script]

    def environment(self, **more: str) -> dict[str, str]:
        """Return the variables of a command in the image."""
        ours = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        return {**ours, "HOME": "/tmp", **self.variables, **more}


def build(folder: Path) -> tuple[Image, Stage]:
    """Build the Dockerfile's stages; return the last one."""
    base = folder / "base"
    if not base.exists():
        debootstrap = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm"]
        subprocess.run([*debootstrap, base], check=True)
    copy = ["cp", "--archive", "--dereference", "--remove-destination", "--no-target-directory"]
    for path in filter(Path.exists, map(Path, _OF_THE_HOST)):
        subprocess.run([*copy, path, base / path.relative_to("/")], check=True)
    built: dict[str, Image] = {}
    for number, stage in enumerate(stages(DOCKERFILE.read_text())):
        image = built[stage.name or "last"] = Image(base, folder / f"stage-{number}")
        for step in stage.steps:
            print(f"{step.name} {step.rest[:100]}", flush=True)
            _do(step, image, built)
    return image, stage


def _do(step: Step, image: Image, built: dict[str, Image]) -> None:
    match step.name:
        case "RUN":
            command = image.command("sh", "-c", step.rest)
            subprocess.run(command, check=True, env=image.environment())
        case "COPY":
            _copy(step, image, built)
        case "ENV":
            for part in shlex.split(step.rest):
                name, _, value = part.partition("=")
                image.variables[name] = Template(value).substitute(image.variables)
        case "WORKDIR":
            image.directory = step.rest
            image.inside(".").mkdir(parents=True, exist_ok=True)
        case "USER":
            image.user = step.rest
        case "EXPOSE" | "VOLUME" | "STOPSIGNAL" | "HEALTHCHECK" | "CMD":
            pass
        case _:
            raise ValueError(f"{step.name} is not known here")


def _copy(step: Step, image: Image, built: dict[str, Image]) -> None:
    *sources, target = step.rest.split()
    place = image.inside(target)
    for source in sources:
        if "from" in step.options:
            found = built[step.options["from"]].inside(source)
        else:
            assert is_sent(source), f".dockerignore leaves out {source}"
            found = ROOT / source
        to = place / found.name if target.endswith("/") else place
        if found.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(found, to, symlinks=True, ignore=ignored)
        else:
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, to)
            if mode := step.options.get("chmod"):
                to.chmod(int(mode, 8))


def is_sent(path: str) -> bool:
    """Return whether `.dockerignore` lets a file into the build: its last line that fits counts."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#") and fnmatch.fnmatch(path, pattern):
            sent = line.startswith("!")
    return sent


def run(image: Image, stage: Stage) -> None:
    """Run the image's CMD until its HEALTHCHECK passes, then a task, and end it by SIGTERM."""
    tool = "/opt/raytasks/bin/raytasks"
    made = subprocess.run(
        image.command(tool, "keys", "new", "--name", "me", "--scopes", "read,submit"),
        env=image.environment(),
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    key, entry = (made.partition(name)[2].split()[0] for name in ("key:", "entry:"))
    own = {"RAYTASKS_API_KEYS": entry, "RAYTASKS_SECRET_KEY": "own", "RAY_AUTH_TOKEN": "5e" * 32}
    home = "/home/raytasks"
    command = image.command(*stage.command(), network=False)
    service = subprocess.Popen(command, env=image.environment(HOME=home, **own))
    try:
        check = stage.health_check()
        deadline = time.monotonic() + _START_SECONDS
        while _beside(service, image, *check).returncode:
            assert service.poll() is None, "the service has ended"
            assert time.monotonic() < deadline, "HEALTHCHECK does not pass"
            time.sleep(1)
        print("HEALTHCHECK passes", flush=True)
        ran = _beside(service, image, "/opt/raytasks/bin/python", "-c", _RUN, KEY=key)
        assert "'COMPLETED'" in ran.stdout, ran.stdout + ran.stderr
        print("a task is COMPLETED", flush=True)
    finally:
        _child(service, "raytasks").terminate()
        print("SIGTERM: exit code", service.wait(90), flush=True)


def _child(service: "subprocess.Popen[bytes]", word: str) -> psutil.Process:
    below = psutil.Process(service.pid).children(recursive=True)
    return next(process for process in below if any(word in part for part in process.cmdline()))


def _beside(
    service: "subprocess.Popen[bytes]", image: Image, *argv: str, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command in the namespaces of the service, as `docker exec` does."""
    try:
        pid = _child(service, "raytasks").pid
    except StopIteration:
        return subprocess.CompletedProcess(argv, 1, "", "the service does not run yet")
    user = image.user.partition(":")[0]
    enter = ["nsenter", f"--target={pid}", "--net", "--pid", "--mount", f"--root={image.root}"]
    return subprocess.run(
        [*enter, f"--setuid={user}", f"--setgid={user}", "--", *argv],
        env=image.environment(**variables),
        check=False,
        capture_output=True,
        text=True,
    )


if __name__ == "__main__":
    run(*build(Path(sys.argv[1]).absolute()))
