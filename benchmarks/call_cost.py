"""The cost of a call between two processes of one node: of a Ray actor, and over our own socket.

    python -m benchmarks.call_cost [CALLS]

In turn, three rounds; one call at a time, a millisecond apart, as with a task that comes alone.
"""

import asyncio
import resource
import sys
import time
from statistics import median
from typing import Any

import ray

from raytasks.protocol import local_socket as local_rpc

MESSAGE = b"x" * 600
"""About as long as a message with one task."""

_WARM = 200


def _used() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Called:
    """The called actor: async, like the tracker."""

    async def echo(self, message: bytes) -> bytes:
        return message

    async def listen(self) -> local_rpc.Address:
        self._server = local_rpc.Server({"echo": self.echo})
        return await self._server.start()

    async def used(self) -> float:
        return _used()


class Caller:
    """The calling actor, like a replica or a runner."""

    async def measure(self, called: Any, way: str, calls: int) -> list[float]:
        """Return p50 and p99 in ms, and processor time of a call in ms: called, caller."""
        if way == "socket":
            line = await local_rpc.SocketChannel.open(await called.listen.remote())

            async def call() -> object:
                return await line.call("echo", MESSAGE)
        else:

            async def call() -> object:
                return await called.echo.remote(MESSAGE)

        for _ in range(_WARM):
            await call()
        there, here, seconds = await called.used.remote(), _used(), []
        for _ in range(calls):
            began = time.perf_counter()
            await call()
            seconds.append(time.perf_counter() - began)
            await asyncio.sleep(0.001)
        used = [await called.used.remote() - there, _used() - here]
        seconds.sort()
        return [
            1000 * seconds[calls // 2],
            1000 * seconds[calls * 99 // 100],
            *(1000 * each / calls for each in used),
        ]


def _actor(kind: type) -> Any:
    return ray.remote(kind).options(num_cpus=0).remote()


def main() -> None:
    """Print a line for each way."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    found: dict[str, list[list[float]]] = {"Ray actor": [], "socket": []}
    for _ in range(3):
        for way, rounds in found.items():
            called, caller = _actor(Called), _actor(Caller)
            rounds.append(ray.get(caller.measure.remote(called, way, calls)))
            ray.kill(called)
            ray.kill(caller)
    print(f"{'':12}{'p50 ms':>10}{'p99 ms':>10}{'cpu ms, called':>16}{'caller':>10}")
    for way, rounds in found.items():
        p50, p99, there, here = map(median, zip(*rounds, strict=True))
        print(f"{way:12}{p50:10.3f}{p99:10.3f}{there:16.3f}{here:10.3f}")
    ray.shutdown()


if __name__ == "__main__":
    main()
