"""A load generator that costs little: fixed bytes go out, and answers are only counted.

It takes about a tenth of the processor time of `benchmarks.load`, which is a real HTTP client. So
it shows what a server can do that shares its processors with the generator. Each answer must have a
`Content-Length`.
"""

import asyncio
import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import cast

import uvloop

from benchmarks.servers.programs import ROOT, ProgramFailed, clean

_LAST_SECONDS = 30.0
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass(frozen=True)
class LeanPlan:
    """The same request for so many seconds over so many connections, one after the other.

    Without `keep_alive` each request has a connection of its own.
    """

    port: int
    method: str
    path: str
    connections: int
    seconds: float
    body: str = ""
    keep_alive: bool = True

    def request(self) -> bytes:
        """Return the bytes of a request."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}"]
        lines += ["Accept: */*", "User-Agent: lean"]
        if self.body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(self.body)}"]
        if not self.keep_alive:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n" + self.body).encode()


@dataclass
class LeanLoad:
    """The results of a plan. Latencies are in seconds, `processor` is a share of a core."""

    latencies: list[float] = field(default_factory=list)
    failures: int = 0
    seconds: float = 0.0
    processor: float = 0.0

    @property
    def per_second(self) -> float:
        """How many good answers came in a second."""
        return len(self.latencies) / self.seconds


def generate_lean(plan: LeanPlan) -> LeanLoad:
    """Make a load in a process of its own. Raises `ProgramFailed`."""
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.lean_load"],
        input=json.dumps(asdict(plan)).encode(),
        capture_output=True,
        cwd=ROOT,
        env=clean(),
        timeout=plan.seconds + 2 * _LAST_SECONDS,
        check=False,
    )
    if ended.returncode:
        raise ProgramFailed(f"the load generator failed: {ended.stderr.decode()[-500:]}")
    return LeanLoad(**json.loads(ended.stdout))


class _Clients:
    """All connections of a plan."""

    def __init__(self, plan: LeanPlan) -> None:
        self.plan = plan
        self.request = plan.request()
        self.load = LeanLoad()
        self.until = 0.0
        self.ended = asyncio.Event()
        self.running = plan.connections

    async def run(self) -> LeanLoad:
        usage, began = _processor_seconds(), time.perf_counter()
        self.until = began + self.plan.seconds
        await asyncio.gather(*(self.connect() for _ in range(self.plan.connections)))
        async with asyncio.timeout(self.plan.seconds + _LAST_SECONDS):
            await self.ended.wait()
        self.load.seconds = time.perf_counter() - began
        self.load.processor = (_processor_seconds() - usage) / self.load.seconds
        return self.load

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: _Client(self), "127.0.0.1", self.plan.port)
        except OSError:
            self.load.failures += 1
            self.over()

    def over(self) -> None:
        """Note that a connection has sent its last request."""
        self.running -= 1
        if not self.running:
            self.ended.set()


class _Client(asyncio.Protocol):
    """A connection: it sends a request when it has the answer to the one before."""

    def __init__(self, clients: _Clients) -> None:
        self._clients = clients
        self._data = b""
        self._sent = 0.0
        self._done = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._send()

    def data_received(self, data: bytes) -> None:
        self._data = self._data + data if self._data else data
        end = self._data.find(_HEAD_END)
        if end < 0 or len(self._data) < end + 4 + _length(self._data[:end]):
            return
        clients, now = self._clients, time.perf_counter()
        if self._data[9:10] == b"2":
            clients.load.latencies.append(now - self._sent)
        else:
            clients.load.failures += 1
        self._data = b""
        if now >= clients.until:
            self._finish()
        elif clients.plan.keep_alive:
            self._send()
        else:
            self._done = True
            self._transport.close()
            self._connecting = asyncio.ensure_future(clients.connect())

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self._done:
            self._clients.load.failures += 1
            self._finish()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._clients.request)

    def _finish(self) -> None:
        self._done = True
        self._transport.close()
        self._clients.over()


def _length(head: bytes) -> int:
    """Return the length of the body that an answer's head tells."""
    low = head.lower()
    place = low.index(_LENGTH) + len(_LENGTH)
    return int(low[place:].split(b"\r\n", 1)[0])


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def _run(plan: LeanPlan) -> LeanLoad:
    return await _Clients(plan).run()


if __name__ == "__main__":
    json.dump(asdict(uvloop.run(_run(LeanPlan(**json.load(sys.stdin))))), sys.stdout)
