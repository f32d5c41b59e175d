"""A Ray driver that submits tasks, as a process of its own: it dies with its cluster.

It reads submissions from its standard input, one JSON object a line. For each one it writes the
task id that it was accepted with, or none.
"""

import asyncio
import contextlib
import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TextIO

from tests.chaos.plan import PlannedTask

_THREADS = 8
_ANSWER_SECONDS = 20.0


class Driver:
    """The handle of such a process."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[str, asyncio.Future[str | None]] = {}

    async def start(self, address: str, environment: dict[str, str]) -> None:
        """Start a driver of the cluster at this address."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.chaos.driver",
            address,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
        )
        self._reading = asyncio.create_task(self._read(self._process))

    async def submit(self, task: PlannedTask) -> str | None:
        """Return the id with which the task was accepted; None if no answer came."""
        process = self._process
        if process is None or process.stdin is None or process.returncode is not None:
            return None
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._waiting[task.token] = answer
        request = {"task_type": task.place, "payload": task.payload, "options": task.options}
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await answer
        except (OSError, TimeoutError):
            return None
        finally:
            del self._waiting[task.token]

    async def stop(self) -> None:
        """End the process; what it has not answered stays unanswered."""
        if self._process is None or self._reading is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._reading
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()
        self._process = None

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            told = json.loads(line)
            answer = self._waiting.get(told["token"])
            if answer is not None and not answer.done():
                answer.set_result(told["task_id"])
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_result(None)


def main(address: str) -> None:
    """Submit what comes, until the input ends."""
    from raytasks.cluster import processes as cluster
    from raytasks.cluster.environment import ray_environment

    # What Ray prints goes elsewhere: this pipe is for our answers alone.
    answers = Answers(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)
    os.environ.update(ray_environment())
    cluster.connect(address)
    with ThreadPoolExecutor(_THREADS) as pool:
        for line in sys.stdin:
            pool.submit(_submit, json.loads(line), answers)


class Answers:
    """Where answers go, each as a line of its own, from whatever thread."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lock = threading.Lock()

    def give(self, token: str, task_id: str | None) -> None:
        """Tell with which id a task was accepted, or that it was not."""
        with self._lock:
            self._file.write(json.dumps({"token": token, "task_id": task_id}) + "\n")
            self._file.flush()


def _submit(request: dict[str, Any], answers: "Answers") -> None:
    from raytasks.driver import submit as driver

    task_id = None
    try:
        task = driver.submit(request["task_type"], request["payload"], **request["options"])
        task_id = task.id
    except Exception as error:
        print(f"not accepted: {error}", file=sys.stderr)
    answers.give(request["payload"]["token"], task_id)


if __name__ == "__main__":
    main(sys.argv[1])
