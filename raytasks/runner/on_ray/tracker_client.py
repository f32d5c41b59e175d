"""The common part of the runners' actors, and their calls to the tracker."""

import asyncio
import logging
import os
import platform
import sys
import uuid
from abc import abstractmethod
from typing import Any

import ray

from raytasks.model.tasks import NotUnderstood, OtherProtocol
from raytasks.protocol import codec as wire
from raytasks.protocol.local_socket import SocketChannel
from raytasks.protocol.messages import Exchange, Orders
from raytasks.protocol.protocol_version import NEEDS, PROTOCOL
from raytasks.protocol.queries import Answer, GetAddress, Query
from raytasks.runner.home import Home
from raytasks.runner.host import RunnerHost
from raytasks.runner.identity import RAY_NAMESPACE, Identity
from raytasks.runner.plan import GENERATION_VARIABLE, RunnerPlan

log = logging.getLogger(__name__)

TRACKER_NAME = "raytasks.tracker"

MAX_CALLS = 10_000
"""How many calls such an actor has open at a time. Further calls wait for their turn."""

_LOOK_SECONDS = 0.2

ASK_AGAIN_SECONDS = 10.0
"""How long the tracker is called by Ray before a socket to it is tried again."""


SOCKET, BY_RAY = "socket", "ray"
"""The two ways to call the tracker: over a Unix socket, and as a Ray actor."""


def lasting(name: str) -> dict[str, Any]:
    """Return the Ray options of an actor that exists once in the cluster, under this name.

    When it dies, Ray starts it again and sends open calls again.
    """
    return {
        "name": name,
        "namespace": RAY_NAMESPACE,
        "lifetime": "detached",
        "get_if_exists": True,
        "num_cpus": 0,
        "max_restarts": -1,
        "max_task_retries": -1,
        "max_concurrency": MAX_CALLS,
    }


class RunnerActor:
    """The base of every runner's actor. It works by itself from the start, in `_main`.

    Its methods are for its pool.
    """

    def __init__(self, plan: RunnerPlan) -> None:
        _refuse_used_process(plan)
        self._plan = plan
        context = ray.get_runtime_context()
        self._identity = Identity(
            runner_id=str(uuid.uuid4()),
            name=plan.name,
            pool=plan.pool,
            generation=plan.generation,
            node_id=context.get_node_id(),
            worker_id=context.get_worker_id(),
            host=platform.node(),
            pid=os.getpid(),
        )
        self._host = RunnerHost(self._main)
        self._host.start()

    async def identity(self) -> tuple[str, str]:
        """Return the runner id of this life of the actor, and Ray's id of its process."""
        self._host.asked.set()
        return self._identity.runner_id, self._identity.worker_id or ""

    async def came_up(self) -> str | None:
        """Wait until the runner has loaded its handlers. Return None, or the error if it cannot."""
        while not self.is_up:
            if self._host.failure is not None:
                return self._host.failure
            await asyncio.sleep(_LOOK_SECONDS)
        return None

    @abstractmethod
    async def stack(self, task_id: str, attempt: int) -> str | None:
        """Return the Python stack of an attempt that runs here, as text; None if it cannot."""

    async def watch(self) -> None:
        """Wait for ever: the call fails when this process dies, so that the pool notices."""
        await asyncio.Event().wait()

    @property
    @abstractmethod
    def is_up(self) -> bool:
        """Whether the runner has loaded its handlers."""

    @abstractmethod
    async def _main(self) -> None:
        """Do the runner's work on the host's event loop, until the runner has left."""


def _refuse_used_process(plan: RunnerPlan) -> None:
    """End a process that has loaded handlers before, maybe of older code. Ray starts another.

    A process that our runtime environment marks with this generation has code of this version.
    """
    if os.environ.get(GENERATION_VARIABLE) == plan.generation:
        return
    if any(module in sys.modules for module in plan.modules):
        log.warning("%s is not to run in a process that was used before", plan.name)
        os._exit(1)


async def open_channel(tracker: Any, present: SocketChannel | None = None) -> SocketChannel | None:
    """Return a socket channel to the tracker, or None if it cannot be reached by one.

    A `present` channel is kept as long as it works. A tracker on another node has no channel.
    Raises what Ray raises.
    """
    query = GetAddress(PROTOCOL, NEEDS)
    where = wire.answer_of(query, await tracker.read.remote(wire.encode(query)))
    if present is not None:
        if present.address == where.address and not present.lost:
            return present
        present.close()
    if where.address is None or where.node_id != ray.get_runtime_context().get_node_id():
        return None
    try:
        return await SocketChannel.open(where.address)
    except OSError as error:  # e.g. from a container with a network of its own
        log.warning("the tracker is on this node, but is called by Ray: %s", error)
        return None


class TrackerClient:
    """Calls to the tracker, whichever process it is. Its handle is looked up once."""

    def __init__(self) -> None:
        self._tracker: Any = None
        self._channel: SocketChannel | None = None
        self._ask_again_at = 0.0
        self._by_ray = 0  # how many messages sent by Ray are not answered yet
        self._opening = asyncio.Lock()
        self._home = Home()

    async def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the tracker's actor, by Ray. Raises what Ray raises."""
        try:
            return await getattr(await self._find(), method).remote(*arguments)
        except Exception:
            self._tracker = None  # a tracker that was killed and made again has another handle
            raise

    async def send(self, method: str, message: bytes) -> bytes:
        """Send a message of `protocol.codec`, over a socket channel if possible, else by Ray.

        Raises what Ray raises, and what `SocketChannel.call` raises. If the tracker's process ends,
        the message may have reached it or not. The next call looks for the tracker again.
        """
        async with self._opening:
            # A message sent by Ray must not be overtaken by a later one.
            if (self._channel is None or self._channel.lost) and not self._by_ray:
                await self._open()
            channel = self._channel
            if channel is None:
                self._by_ray += 1
        if channel is not None:
            return await channel.call(method, message)
        try:
            answer: bytes = await self.call(method, message)
        finally:
            self._by_ray -= 1
        return answer

    async def read(self, query: Query[Answer]) -> Answer:
        """Have the tracker answer a query. Raises as `send` does."""
        return wire.answer_of(query, await self.send("read", wire.encode(query)))

    async def exchange(self, exchange: Exchange) -> Orders:
        """Make one exchange. Raises `NotUnderstood` for one that cannot be sent or understood."""
        self._home.leave_if_copy()
        try:
            message = wire.encode(exchange)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise NotUnderstood(f"the exchange cannot be sent: {error!r}") from error
        answer = await self.send("exchange", message)
        try:
            return wire.orders_of(answer)
        except NotUnderstood as error:  # the fault is in the answer, not in what was sent
            raise ConnectionError(f"the tracker's answer is not understood: {error}") from error

    def close(self) -> None:
        """Close the socket channel, if there is one."""
        if self._channel is not None:
            self._channel.close()

    async def _open(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._channel is None and now < self._ask_again_at:
            return
        try:
            self._channel = await open_channel(await self._find())
        except OtherProtocol as error:  # a runner is told by Ray what to do
            log.warning("the tracker is called by Ray: %s", error)
        except Exception:
            self._tracker = self._channel = None
            raise
        if self._channel is None:  # most likely it is on another node, and stays there
            self._ask_again_at = now + ASK_AGAIN_SECONDS

    async def _find(self) -> Any:
        if self._tracker is None:
            self._tracker = await asyncio.to_thread(ray.get_actor, TRACKER_NAME, RAY_NAMESPACE)
        return self._tracker
