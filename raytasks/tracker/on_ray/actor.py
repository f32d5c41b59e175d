"""The tracker's actor: the core and the pools in one detached, named process."""

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Coroutine
from functools import partial
from typing import Any

import ray

from raytasks import __version__
from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.model.acts import UNKNOWN
from raytasks.model.tasks import StoreUnavailable
from raytasks.observe.log_record import with_fields
from raytasks.observe.log_setup import LogOptions, TrackerLog
from raytasks.observe.log_stream import LogStream
from raytasks.pools.handlers_version import HandlersVersion, differing_settings
from raytasks.pools.kept_builds import KeptBuilds
from raytasks.pools.manager import RunnerPools
from raytasks.pools.trial import try_version
from raytasks.pools.versions import Announced, DeployAnswer, Versions
from raytasks.protocol import codec as wire
from raytasks.protocol import local_socket as local_rpc
from raytasks.protocol import protocol_version
from raytasks.protocol.commands import ResumeWork
from raytasks.protocol.local_socket import TrackerAddress
from raytasks.protocol.messages import Exchange, Orders
from raytasks.protocol.metrics_data import MetricsData
from raytasks.protocol.places import DatabasePlace, Terms
from raytasks.protocol.queries import (
    AnyQuery,
    GetAddress,
    GetDatabase,
    GetTerms,
    Health,
    Metrics,
    NodeList,
    NodesComing,
    Query,
    ServiceQuery,
    WaitingFor,
)
from raytasks.runner.on_ray.node_life import node_died
from raytasks.runner.on_ray.ray_internals import was_restarted
from raytasks.runner.on_ray.stack_calls import stack_of
from raytasks.runner.on_ray.tracker_client import BY_RAY, SOCKET
from raytasks.settings import Settings
from raytasks.store.transaction import Superseded
from raytasks.tracker.core import Tracker
from raytasks.tracker.doors import Doors
from raytasks.tracker.ending import RESTART_SECONDS, end_process
from raytasks.tracker.garbage import keep_present
from raytasks.tracker.metrics_view import with_starting
from raytasks.tracker.on_ray import stopping
from raytasks.tracker.on_ray.cluster_outlook import ClusterOutlook, set_thresholds
from raytasks.tracker.on_ray.moving import move_when_told
from raytasks.tracker.on_ray.own_file import own_file
from raytasks.tracker.on_ray.tracker_making import tracker_of
from raytasks.tracker.orphans import Orphans
from raytasks.tracker.retention import Retention
from raytasks.tracker.service_terms import outbox_terms_of, terms_of
from raytasks.tracker.version_book import VersionBook

log = logging.getLogger(__name__)

_TAKEN_OVER_SECONDS = 20.0
_FILE_THREADS = 8  # an object store is slow for each call
_ASKED = 100


class TrackerActor:
    """The tracker's actor. Ray may repeat every method after a restart, without harm.

    The constructor only makes objects: if it raised at a restart, the actor would be dead for good.
    Everything that can fail happens in `_live`, which the first call starts. Runners and API
    replicas call all the time.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._life: asyncio.Task[None] | None = None
        self._tracker: asyncio.Future[Tracker] | None = None
        self._pools: RunnerPools | None = None
        self._versions: Versions | None = None
        self._listens: TrackerAddress | None = None
        self._server: local_rpc.Server | None = None
        self._log: TrackerLog | None = None
        self._address_lock = asyncio.Lock()
        self._asked: list[str] = []
        self._outlook: ClusterOutlook | None = None
        self._own_doors: Doors | None = None

    # For clients

    async def submit(self, tasks: bytes) -> bytes:
        """Store new tasks: see `Tracker.submit`.

        Tasks and duplicates are encoded by `protocol.codec`.
        """
        return await (await self._doors()).submit(tasks)

    async def read(self, query: bytes) -> bytes:
        """Answer a query. Raises `StoreUnavailable`.

        Query and answer are encoded by `protocol.codec`.
        """
        asked = wire.query_of(query)
        if isinstance(asked, ServiceQuery):
            return wire.encode(await self._read(asked))
        return await (await self._doors()).read(query)

    async def execute(self, command: bytes) -> bytes:
        """Execute a command: see `Tracker.execute`.

        Command and answer are encoded by `protocol.codec`.
        """
        return await (await self._doors()).execute(command)

    async def changes(self, query: bytes) -> bytes:
        """Return events of the feed: see `Tracker.changes`.

        Query and feed are encoded by `protocol.codec`.
        """
        return await (await self._doors()).changes(query)

    async def _read(self, query: AnyQuery) -> Any:
        match query:
            case GetAddress():
                protocol_version.check(query.protocol, query.needs)
                return await self._address()
            case GetTerms():
                return await self._terms()
            case GetDatabase():
                return await self._database()
            case Health():
                return await self._health()
            case NodeList() | NodesComing() | WaitingFor():
                core = await self._core()
                if self._outlook is not None:
                    await self._outlook.look(query)
                return await core.read(query)
            case Metrics():
                return await self._metrics()
            case _:
                asked: Query[Any] = query
                return await (await self._core()).read(asked)

    async def _health(self) -> dict[str, Any]:
        core = await self._core()
        if self._outlook is None:
            return await core.read(Health())
        await self._outlook.look(Health())
        report = await core.read(Health())
        return await self._outlook.complete(report, core.ticker.ledger.waiting_types())

    async def _metrics(self) -> MetricsData:
        core = await self._core()
        if self._outlook is not None:
            await self._outlook.look(Metrics())
        data = await core.read(Metrics())
        if self._outlook is not None:
            self._outlook.complete_metrics(data)
        data.ray = ray.__version__
        if self._pools is not None:
            data.runners = with_starting(data.runners, self._pools.starting())
        return data

    async def version(self) -> str:
        """Return which version of raytasks this is. It waits for nothing."""
        return __version__

    async def _terms(self) -> Terms:
        await self._core()
        return terms_of((self._pools and self._pools.settings) or self._settings)

    async def _database(self) -> DatabasePlace:
        core = await self._core()
        if not (core.outpost.active or await core.ticker.is_loaded(_TAKEN_OVER_SECONDS)):
            raise StoreUnavailable("the database is not taken over yet")
        context = ray.get_runtime_context()
        owner = context.get_actor_id() or ""
        return DatabasePlace(self._settings.database_url, context.get_node_id(), owner)

    # For processes of this cluster

    async def _address(self) -> TrackerAddress:
        async with self._address_lock:
            if self._listens is None or (self._server is not None and not self._server.listening):
                here = ray.get_runtime_context().get_node_id()
                self._listens = TrackerAddress(here, await self._listen())
        return self._listens

    async def _listen(self) -> local_rpc.Address | None:
        methods = {
            "submit": self.submit,
            "read": self.read,
            "execute": self.execute,
            "changes": self.changes,
            "exchange": lambda message: self.exchange(message, SOCKET),
        }
        self._server = local_rpc.Server(methods, self_checked={"exchange"})
        try:
            return await self._server.start() if local_rpc.AVAILABLE else None
        except OSError as error:
            log.warning("there is no socket; everybody calls by Ray: %s", error)
            self._server = None
            return None

    async def exchange(self, message: bytes, way: str = BY_RAY) -> bytes:
        """Take in a runner's exchange, and return its orders: see `Tracker.exchange`.

        Exchange and orders are encoded by `protocol.codec`. Ray is asked why an earlier life of the
        runner has ended.
        """
        doors = await self._doors()
        answer = doors.exchange(message, way)
        del message  # it may be large, and the answer may take long
        return await answer

    async def _exchange(self, exchange: Exchange, way: str) -> Orders:
        core = await self._core()
        if self._pools is not None:
            for runner in core.fleet.lives_of(exchange.name):
                if runner.runner_id != exchange.runner_id:
                    await self._pools.note_end(runner.runner_id, runner.worker_id)
        answer = core.exchange(exchange, way)
        del exchange
        return await answer

    async def ping(self) -> None:
        """Answer, to show that this process runs; needs nothing else to work."""

    async def deploy(self, version: HandlersVersion, by: str = UNKNOWN) -> DeployAnswer:
        """Try a version of the handlers where it will run, and put it in force if it passes.

        Safe to repeat. It is deployed `by` a person. Raises `StoreUnavailable`.
        """
        core, versions = await self._core(), self._versions
        assert versions is not None
        if core.outpost.active:
            raise StoreUnavailable(f"{core.outpost.words}; deploy there")
        row = await versions.deploy(version, by)
        unchanged = differing_settings(self._settings, version.settings)
        return versions.answer(row, core.ticker.ledger.waiting_types(), unchanged)

    async def announce(self, version: HandlersVersion) -> Announced:
        """Take in the handlers' version of an API replica. See `Versions.announce`."""
        await self._core()
        assert self._versions is not None
        return await self._versions.announce(version)

    async def is_first(self, name: str) -> bool:
        """Return whether this name is asked for the first time, so that one caller of many acts."""
        first = name not in self._asked
        self._asked = [*self._asked, name][-_ASKED:]
        return first

    async def ready(self) -> dict[str, tuple[int, int | None]]:
        """Return how many runners have called, and the fewest that there should be, by pool.

        The fewest are None until the pool was looked after once.
        """
        core = await self._core()
        called = Counter(runner.pool for runner in core.fleet if runner.confirmed)
        views = () if self._pools is None else self._pools.views()
        least = {view.name: view.min_runners for view in views}
        return {name: (called[name], least.get(name)) for name in (*least, *called)}

    async def drain(self, seconds: float, by: str = UNKNOWN) -> int:
        """Stop claiming, and give running attempts `seconds` to end. It lasts until `resume`.

        An attempt that still runs then is stopped and released, uncharged. Returns the number of
        those. New tasks are accepted throughout.
        """
        return await stopping.drain(await self._core(), self._pools, seconds, by)

    async def resume(self, by: str = UNKNOWN) -> None:
        """End the pause of the whole service."""
        await self.execute(wire.encode(ResumeWork(by=by)))

    async def end_drain(self, by: str = UNKNOWN) -> None:
        """Claim tasks again if the service is drained; a person's pause stays."""
        await self.execute(wire.encode(ResumeWork(by=by, only_drain=True)))

    async def stop(self, seconds: float, by: str = UNKNOWN) -> int:
        """Stop claiming, give running attempts `seconds` to end, then end all runners.

        An attempt that still runs then is released, uncharged. Returns the number of those.
        """
        core = await self._core()
        if self._pools is None:
            return 0
        left = await stopping.stop(core, self._pools, seconds, by)
        if self._log is not None:
            await asyncio.to_thread(self._log.flush)
        return left

    async def _core(self) -> Tracker:
        if self._tracker is None:
            self._tracker = asyncio.get_running_loop().create_future()
            self._life = asyncio.ensure_future(self._live(self._tracker))
        if self._tracker.done():
            return self._tracker.result()
        return await asyncio.shield(self._tracker)

    async def _doors(self) -> Doors:
        await self._core()
        assert self._own_doors is not None
        return self._own_doors

    async def _live(self, ready: "asyncio.Future[Tracker]") -> None:
        begun_at = time.monotonic()
        keep_present()
        try:
            stream = LogStream()
            self._log = TrackerLog(stream, LogOptions.of(self._settings))
            log.info("raytasks %s begins", __version__, extra=with_fields(pid=os.getpid()))
            tracker = tracker_of(self._settings, stream)
            self._pools = RunnerPools(tracker)
            self._versions = Versions(
                VersionBook(tracker.ticker),
                KeptBuilds(),
                try_version,
                partial(_put_in_force, tracker, self._pools, self._log),
            )
            self._outlook = ClusterOutlook(
                self._pools, self._versions, self._settings, self._socket_node
            )
            self._outlook.serve(tracker.observer, self._settings)
            tracker.ticker.on_expiry = self._pools.replace
            tracker.ticker.silence.node_died = node_died
            tracker.stack_of = stack_of
            # Not at the first call: an earlier cluster may call before anybody here does.
            self._own_doors = Doors(tracker, self._read, self._exchange)
            ready.set_result(tracker)
            await own_file(tracker, self._settings.sqlite_path)
            await tracker.start(again=was_restarted())
            works = [self._pools.run(), self._versions.restore()]
            if self._settings.sqlite_path is None:  # else it is bound to the node of the file
                works.append(move_when_told(self._pools.departures))
            await self._reign(tracker, *works)
            end_process("this cluster has the database again; its tracker begins anew")
        except BaseException as error:
            # Not at once: a failure at every start must not keep a processor busy.
            lived = time.monotonic() - begun_at
            pause = max(0.0, RESTART_SECONDS - lived)
            end_process("the tracker failed, and will be started again", error, pause=pause)
        finally:
            os._exit(1)

    async def _reign(self, tracker: Tracker, *others: Coroutine[Any, Any, None]) -> None:
        """Do the work of a tracker that reigns, and then of an outpost; return after that."""
        works = (tracker.run(), self._prune(tracker), *others)
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            await asyncio.gather(*tasks)
        except Superseded:
            for task in tasks:
                task.cancel()
            await tracker.superseded()

    def _socket_node(self) -> str | None:
        listens = self._server is not None and self._server.listening
        return self._listens.node_id if listens and self._listens is not None else None

    async def _prune(self, tracker: Tracker) -> None:
        artifacts = ArtifactStore(self._settings.artifacts_url)
        retention = Retention(
            tracker,
            artifacts.remove,
            seconds=self._settings.retention_seconds,
            clock=time.time,
            remove_file=artifacts.remove_own,
            parallel=_FILE_THREADS,
        )
        await asyncio.gather(retention.run(), Orphans(tracker, artifacts, clock=time.time).run())


def _put_in_force(
    tracker: Tracker, pools: RunnerPools, written: TrackerLog, version: HandlersVersion
) -> None:
    settings = version.settings
    tracker.outbox.terms = outbox_terms_of(settings)
    tracker.set_handlers(version.all_handlers)
    pools.deploy(version)
    written.change(LogOptions.of(settings))
    tracker.max_backlog = settings.max_backlog
    tracker.ticker.max_crashes = settings.max_crashes
    set_thresholds(tracker.observer, settings)
