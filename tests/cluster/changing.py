"""Modules of handlers in a service's folder, which tests write in one version after the other."""

from pathlib import Path

_VERSIONED = """
import os
import time
from pathlib import Path
import ray
from raytasks import handler

VERSION = {version}

def version() -> int:
    return VERSION

@handler("versioned", actors=(1, 1))
class Versioned:
    def __call__(self, payload: dict) -> int:
        child = ray.get(ray.remote(version).options(num_cpus=0).remote())
        assert child == VERSION, child
        with Path(payload["mark"]).open("a") as file:
            file.write(f"1 {{os.getpid()}}\\n")
        while not Path(payload["gate"]).exists():
            time.sleep(0.01)
        return VERSION

@handler("versioned_remote", isolated=True)
def versioned_remote(payload: dict) -> int:
    return Versioned()(payload)
"""

_CHANGING = """
import os
from raytasks import handler

{first}

@handler("version")
def version(payload: dict) -> int:
    return {number}

@handler("elsewhere", ray_options={{"num_cpus": 0.5, "runtime_env": {env}}})
def elsewhere(payload: dict) -> int:
    return {number}
"""


def write_versioned(folder: Path, number: int) -> None:
    """Write handlers whose attempts wait for a gate, and answer with the version's number."""
    (folder / "versioned.py").write_text(_VERSIONED.format(version=number))


def write_changing(
    folder: Path, number: int, first: str = "", env: str = "{'env_vars': {'A': '1'}}"
) -> None:
    """Write handlers that answer with a number; `first` is run when the module is imported."""
    (folder / "changing.py").write_text(_CHANGING.format(first=first, number=number, env=env))
