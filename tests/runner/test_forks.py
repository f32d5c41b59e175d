"""Processes that a handler forks: none of them goes on as the runner."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import asyncio, multiprocessing, os, pty, sys, threading
sys.path[:0] = {path!r}
from tests.working import Working
from raytasks.handling.context import Context
from raytasks.handling.declaration import handler

def ran(name):
    with open({ran!r}, "a") as file:
        file.write(name + "\\n")

@handler("forks")
def forks(payload: dict, context: Context) -> str:
    ran("forks")
{body}
    return "done"

@handler("forks_async")
async def forks_async(payload: dict, context: Context) -> str:
    ran("forks")
{body}
    return "done"

@handler("next")
def next_one(payload: dict) -> str:
    ran("next")
    return "done"

working = Working(forks, forks_async, next_one)
outcomes = working.run({kind!r}, *["next"] * 20)
ran("told " + " ".join(sorted({{outcome.kind.value for outcome in outcomes}})))
{after}
"""

BODIES = {
    "the child returns": "os.fork()",
    "the child raises": "if not os.fork(): raise ValueError('of the child')",
    "the child exits": "if not os.fork(): sys.exit(7)",
    "a terminal": "pid, _ = pty.fork()",
    "a daemon": "if not os.fork():\n        os.setsid()\n        if os.fork(): os._exit(0)",
    "it tells": (
        "if not os.fork():\n"
        "        context.progress(0.5)\n"
        "        context.log.info('child')\n"
        "        assert not context.cancelled\n"
        "        context.checkpoint(1)"
    ),
}


def runs(tmp_path: Path, body: str, kind: str = "forks", after: str = "") -> list[str]:
    ran = tmp_path / "ran.txt"
    path = [str(Path(__file__).parents[2])]
    code = SCRIPT.format(path=path, ran=str(ran), body="    " + body, kind=kind, after=after)
    with (tmp_path / "errors.txt").open("w") as errors:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=errors, stderr=errors, timeout=60, check=False
        )
    assert done.returncode == 0, (tmp_path / "errors.txt").read_text()
    return ran.read_text().splitlines()


@pytest.mark.parametrize("kind", ["forks", "forks_async"])
@pytest.mark.parametrize("body", BODIES)
def test_nothing_runs_twice(tmp_path: Path, body: str, kind: str) -> None:
    # The children are waited for, so that whatever they ran is in the file.
    after = "while True:\n    try: os.wait()\n    except ChildProcessError: break"
    lines = runs(tmp_path, BODIES[body], kind, after)
    assert lines == ["forks", *["next"] * 20, "told succeeded"]
    told = (tmp_path / "errors.txt").read_text()
    assert "a fork of a runner" in told or body == "a terminal"  # the child's words go there


def test_the_child_has_the_status_of_a_script(tmp_path: Path) -> None:
    body = (
        "pids = [os.fork()]\n"
        "    if not pids[0]: return\n"
        "    pids.append(os.fork())\n"
        "    if not pids[1]: raise ValueError\n"
        "    pids.append(os.fork())\n"
        "    if not pids[2]: sys.exit(7)\n"
        "    ran(str([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]))"
    )
    assert "[0, 1, 7]" in runs(tmp_path, body)


def test_a_handler_may_fork_for_work_of_its_own(tmp_path: Path) -> None:
    body = (
        "fork = multiprocessing.get_context('fork')\n"
        "    with fork.Pool(2) as pool: ran(str(pool.map(abs, [-1, -2, -3])))\n"
        "    child = fork.Process(target=ran, args=('child',))\n"
        "    child.start()\n"
        "    child.join()\n"
        "    ran(str(child.exitcode))"
    )
    lines = runs(tmp_path, body)
    assert lines[:4] == ["forks", "[1, 2, 3]", "child", "0"]
    assert lines[4:] == [*["next"] * 20, "told succeeded"]


def test_a_class_whose_constructor_forks(tmp_path: Path) -> None:
    code = SCRIPT.replace(
        "working = Working(forks,",
        "@handler('loads')\nclass Loads:\n    def __init__(self): os.fork(); ran('loads')\n"
        "    def __call__(self, payload: dict) -> str: ran('called'); return 'done'\n\n"
        "working = Working(Loads, forks,",
    )
    ran = tmp_path / "ran.txt"
    code = code.format(
        path=[str(Path(__file__).parents[2])], ran=str(ran), body="    pass", kind="loads", after=""
    )
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)
    lines = ran.read_text().splitlines()
    assert lines.count("called") == 1
    assert lines.count("next") == 20
