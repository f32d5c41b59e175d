"""The command of a worker in `raycluster.yaml`: it runs KubeRay's command as a shell reads it.

So does the head, by `raytasks-head`.
"""

import os
import subprocess
from pathlib import Path

import pytest

from tests.deploy.manifests import container, custom, pods
from tests.deploy.schemas import DEPLOY

RAY = """#!/bin/bash
[ "$1" = start ] || exit 1
echo "$PPID" > {folder}/parent
printf '%s\\n' "$@" > {folder}/arguments
"""

# As KubeRay makes it of `rayStartParams`, whose values bring their own quotes.
STARTS = [
    ("ray start  --address=raytasks-head-svc:6379  --block ", ["--block"]),
    ("ray start --resources='{\"gpu type\": 1}' --block", ['--resources={"gpu type": 1}']),
    ('ray start --resources="{\\"disk\\": 2, \\"x\\": 1}"', ['--resources={"disk": 2, "x": 1}']),
    ("ray start --labels='a=*,b=$HOME'", ["--labels=a=*,b=$HOME"]),
]


@pytest.mark.parametrize("who", ["worker", "head"])
@pytest.mark.parametrize(("start", "expected"), STARTS)
def test_quoted_parts_stay_whole(who: str, start: str, expected: list[str], tmp_path: Path) -> None:
    ray = tmp_path / "ray"
    ray.write_text(RAY.replace("{folder}", str(tmp_path)))
    ray.chmod(0o755)
    worker = container(pods(custom())["worker"])
    of_worker = [*worker["command"], *worker["args"]]
    command = of_worker if who == "worker" else [DEPLOY / "raytasks-head"]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "KUBERAY_GEN_RAY_START_CMD": start}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        _, said = process.communicate(timeout=30)
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert arguments[0] == "start", said
    assert expected == [one for one in arguments if one in expected]
    if who == "worker":
        assert process.returncode == 0
        # In place of the shell: else SIGTERM would not reach it.
        assert (tmp_path / "parent").read_text().strip() == str(os.getpid())
