"""The load generator: clients in a closed loop, in a process of their own.

Each connection sends its next request when it has the answer of the one before. The process has
one core, and the result says how much of it was used. So it shows when the generator itself was
measured.
"""

import asyncio
import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import aiohttp
import uvloop

from benchmarks.measures import Result, curve, percentile
from benchmarks.servers.programs import ROOT, ProgramFailed, clean

BOTTLENECK = 0.9
"""From this share of its core on, the generator may be what holds the rate down."""

_FINAL = ("COMPLETED", "FAILED", "CANCELLED")
_MORE_SECONDS = 120.0


@dataclass(frozen=True)
class Plan:
    """The requests to send: `requests` in all, or for `seconds`, over so many connections.

    The `paths` are taken in turn. With `wait`, each submission is followed by `GET ?wait=` for its
    task, and the latency is that of both. The first `warm` requests of each connection do not
    count. At its end the plan waits up to `patience` seconds for the answers that are still due.
    """

    url: str
    paths: tuple[str, ...]
    connections: int
    method: str = "POST"
    body: Any = None
    requests: int | None = None
    seconds: float | None = None
    wait: bool = False
    warm: int = 0
    patience: float = 30.0


@dataclass
class Load:
    """The results of a load: latencies in seconds, times by the monotonic clock."""

    latencies: list[float] = field(default_factory=list)
    failures: int = 0
    sent: int = 0
    began: float = 0.0
    ended: float = 0.0
    processor: float = 0.0
    """How much of its core the generator used."""

    @property
    def per_second(self) -> float:
        """How many good answers came in a second."""
        return len(self.latencies) / (self.ended - self.began)

    def result(self, name: str) -> Result:
        """Return the numbers, each with a name before it. Raises `ProgramFailed` if all failed."""
        if not self.latencies:
            raise ProgramFailed(f"{name}: none of {self.sent} requests had a good answer")
        numbers = {
            f"{name}.per_second": self.per_second,
            f"{name}.p50_ms": 1000 * percentile(self.latencies, 0.5),
            f"{name}.p99_ms": 1000 * percentile(self.latencies, 0.99),
            f"{name}.failures": float(self.failures),
            f"{name}.generator_percent": 100 * self.processor,
        }
        if self.processor >= BOTTLENECK:
            print(f"    {name}: the generator used {self.processor:.0%} of its core")
        return Result(numbers, {name: curve(self.latencies)})


class Generator:
    """A load that is being made."""

    def __init__(self, plan: Plan) -> None:
        self._seconds = (plan.seconds or 0.0) + plan.patience + _MORE_SECONDS
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=clean(),
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(plan)).encode())
        self._process.stdin.close()
        self._process.stdin = None

    def finish(self) -> Load:
        """Wait for its end."""
        try:
            output, _ = self._process.communicate(timeout=self._seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise ProgramFailed("the load generator did not end") from None
        if self._process.returncode:
            raise ProgramFailed("the load generator failed")
        return Load(**json.loads(output))


def generate(plan: Plan) -> Load:
    """Make a load, and return what came of it."""
    return Generator(plan).finish()


class _Clients:
    def __init__(self, plan: Plan, http: aiohttp.ClientSession) -> None:
        self._plan = plan
        self._http = http
        self._body = None if plan.body is None else json.dumps(plan.body).encode()
        self._headers = {} if self._body is None else {"Content-Type": "application/json"}
        self._left = plan.requests
        self._until = float("inf")
        self._turn = 0
        self.load = Load()

    async def run(self) -> None:
        everyone = [asyncio.ensure_future(self._warm()) for _ in range(self._plan.connections)]
        await asyncio.gather(*everyone)
        used = _processor_seconds()
        self.load.began = time.monotonic()
        if self._plan.seconds is not None:
            self._until = self.load.began + self._plan.seconds
        clients = [asyncio.ensure_future(self._client()) for _ in range(self._plan.connections)]
        seconds = (self._plan.seconds or _MORE_SECONDS) + self._plan.patience
        done, late = await asyncio.wait(clients, timeout=seconds)
        self.load.ended = time.monotonic()
        self.load.processor = (_processor_seconds() - used) / (self.load.ended - self.load.began)
        for client in late:
            client.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for client in done:
            client.result()

    async def _warm(self) -> None:
        for _ in range(self._plan.warm):
            await self._send()

    async def _client(self) -> None:
        while time.monotonic() < self._until:
            if self._left is not None:
                if self._left <= 0:
                    return
                self._left -= 1
            self.load.sent += 1
            began = time.perf_counter()
            if await self._send():
                self.load.latencies.append(time.perf_counter() - began)
            else:
                self.load.failures += 1
                await asyncio.sleep(0.01)

    async def _send(self) -> bool:
        path = self._plan.paths[self._turn % len(self._plan.paths)]
        self._turn += 1
        try:
            answer = await self._request(self._plan.method, path, self._body)
            if answer is None or not self._plan.wait:
                return answer is not None
            return await self._wait(json.loads(answer)["task_id"])
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _wait(self, task_id: str) -> bool:
        answer = await self._request("GET", f"/tasks/{task_id}?wait=30", None)
        return answer is not None and json.loads(answer)["state"] in _FINAL

    async def _request(self, method: str, path: str, body: bytes | None) -> bytes | None:
        headers = self._headers if body is not None else {}
        url = self._plan.url + path
        async with self._http.request(method, url, data=body, headers=headers) as answer:
            content = await answer.read()
            return content if answer.status < 400 else None


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def _run(plan: Plan) -> Load:
    connector = aiohttp.TCPConnector(limit=plan.connections, keepalive_timeout=60)
    timeout = aiohttp.ClientTimeout(total=90)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        clients = _Clients(plan, http)
        await clients.run()
        return clients.load


def main() -> None:
    """Read a plan, carry it out, and write what came of it."""
    given = json.load(sys.stdin)
    plan = Plan(**{**given, "paths": tuple(given["paths"])})
    load = uvloop.run(_run(plan))
    json.dump(asdict(load), sys.stdout)


if __name__ == "__main__":
    main()
