"""The tracker's answers to people: health, why a task waits, and what pools and runners do."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any, assert_never

from raytasks.model.handler_info import HandlerInfo
from raytasks.model.lane_names import lane_of
from raytasks.protocol.queries import (
    Health,
    LimitList,
    LiveAttempt,
    NodeList,
    NodesComing,
    PauseList,
    PoolList,
    Query,
    Readiness,
    RunnerList,
    VersionList,
    WaitingFor,
)
from raytasks.store.version_rows import VersionRow
from raytasks.tracker import overview, waiting
from raytasks.tracker.health import health_of, submission_reasons
from raytasks.tracker.held_schedules import held_reasons
from raytasks.tracker.limit_use import Block, blocks, use_of
from raytasks.tracker.limit_view import LimitUse, limit_documents
from raytasks.tracker.oldest_due import OldestDue
from raytasks.tracker.outbox_state import OutboxState, outbox_reasons
from raytasks.tracker.outlook import FleetOutlook, Outlook
from raytasks.tracker.pool_view import pool_documents
from raytasks.tracker.steering_view import pause_document
from raytasks.tracker.ticker import Ticker
from raytasks.tracker.version_view import version_documents
from raytasks.tracker.work_health import WorkScene, work_reasons

ObserverQuery = (
    WaitingFor
    | LiveAttempt
    | Readiness
    | Health
    | PoolList
    | RunnerList
    | NodeList
    | NodesComing
    | VersionList
    | LimitList
    | PauseList
)

MAX_VERSIONS = 100
"""Maximum number of versions that are shown: the newest."""

_OLDEST_SECONDS = 2.0


class Observer:
    """Looks at the tracker's memory, and says what it sees. It changes nothing.

    - `outlook`: the things around the tracker; a cluster sets its own.
    - `handlers`: those of the version in force, by type.
    - `wait_seconds`, `stall_seconds`: the thresholds of `/health`.
    - `socket_node`: returns the node on which the tracker has a socket, or None.
    - `earlier_clusters`: returns the earlier clusters that may still run tasks, as documents.
    - `in_force`: returns the number of the version in force, or None.
    - `outbox`: returns the state of the outbox.
    """

    def __init__(
        self, ticker: Ticker, oldest: OldestDue, backlog: Callable[[], tuple[int, int]]
    ) -> None:
        self._ticker = ticker
        self._oldest = oldest
        self._backlog = backlog
        self.outlook: Outlook = FleetOutlook(ticker.ledger.fleet)
        self.handlers: Mapping[str, HandlerInfo] = {}
        self.wait_seconds = 300.0
        self.stall_seconds = 600.0
        self.socket_node: Callable[[], str | None] = lambda: None
        self.in_force: Callable[[], int | None] = lambda: None
        self.outbox: Callable[[], OutboxState] = OutboxState
        self.earlier_clusters: Callable[[], list[dict[str, Any]]] = list

    async def answer(self, query: Query[Any]) -> Any:
        """Answer a query. Raises `StoreUnavailable`."""
        assert isinstance(query, ObserverQuery), query
        match query:
            case WaitingFor():
                return await self._waiting_for(query)
            case LiveAttempt():
                return overview.live_attempt(self._work({}), query.task_id)
            case Readiness():
                return submission_reasons(self._ticker)
            case Health():
                return await self._health()
            case PoolList():
                work, settings = self._work(await self._seconds()), self._ticker.steering.pools
                return pool_documents(work, settings, self.handlers.values())
            case RunnerList():
                return overview.runner_documents(self._work({}), await self._numbers())
            case NodeList():
                runners = list(self._ticker.ledger.fleet)
                return overview.node_documents(self.outlook.nodes(), runners)
            case NodesComing():
                return dict(self.outlook.coming())
            case VersionList():
                return await self._versions()
            case LimitList():
                handlers = self.handlers.values()
                return limit_documents(handlers, self._ticker.steering, self._use_of)
            case PauseList():
                return self._pauses()
            case _:
                assert_never(query)

    def _pauses(self) -> list[dict[str, Any]]:
        ticker = self._ticker
        return [
            {
                **pause_document(pause),
                "waiting": ticker.ledger.waiting_in(pause.namespace, pause.task_type),
            }
            for pause in ticker.steering.in_force(ticker.clock())
        ]

    def _use_of(self, name: str) -> LimitUse:
        lanes = self._ticker.ledger.lanes
        limit = lanes.limits.by_name.get(name)
        return LimitUse() if limit is None else use_of(lanes, limit, self._ticker.monotonic())

    async def _waiting_for(self, query: WaitingFor) -> list[dict[str, Any]] | None:
        ticker = self._ticker
        moment = waiting.Moment(
            now=ticker.clock(),
            fleet=ticker.ledger.fleet,
            outlook=self.outlook,
            database_error=ticker.access.trouble(),
            pause=ticker.steering.pause_of(query.namespace, query.task_type, ticker.clock()),
            stopping=not ticker.claiming,
            is_barred=ticker.recovery.bars_claims(query.task_type),
            blocks=tuple(self._blocks(query)),
            rated=ticker.ledger.claims.limits.rated_types,
        )
        reasons = waiting.waiting_for(query, moment)
        types = () if reasons is None else waiting.rivals(query, moment, reasons)
        if reasons is None or not types:
            return reasons
        limit = waiting.MAX_BEFORE + 1
        lanes = [lane.ask(limit) for lane in ticker.ledger.lanes.best(types, limit)]
        place = await ticker.access.read(lambda: ticker.store.place_of(query.task_id, lanes, limit))
        return [*reasons, *waiting.place_in_line(query, moment, place)]

    def _blocks(self, query: WaitingFor) -> Iterator[Block]:
        lanes, values = self._ticker.ledger.lanes, query.limit_values
        gates = lanes.limits.looked_at(query.task_type, query.namespace, values)
        lane = lanes.find(query.task_type, lane_of(query.namespace, values))
        return blocks(gates, self._ticker.monotonic(), lane)

    async def _health(self) -> dict[str, Any]:
        backlog, most = self._backlog()
        looking = asyncio.ensure_future(self._seconds())
        report = await health_of(self._ticker, backlog, most)
        oldest = await looking
        report["tracker"]["socket_node"] = self.socket_node()
        report["tracker"]["earlier_clusters"] = self.earlier_clusters()
        report["reasons"] += work_reasons(self._work(oldest))
        report["reasons"] += held_reasons(self._ticker.background.schedules.all_held)
        report["reasons"] += outbox_reasons(self.outbox(), self._ticker.clock())
        return report

    async def _seconds(self) -> Mapping[str, float]:
        """Return how long the oldest due task of each type has waited, if that can be read soon."""
        reading = asyncio.ensure_future(self._oldest.seconds())
        await asyncio.wait([reading], timeout=_OLDEST_SECONDS)
        return reading.result() if reading.done() and reading.exception() is None else {}

    def _work(self, oldest: Mapping[str, float]) -> WorkScene:
        ticker = self._ticker
        steering, now = ticker.steering, ticker.clock()
        return WorkScene(
            now=now,
            monotonic=ticker.monotonic(),
            fleet=ticker.ledger.fleet,
            outlook=self.outlook,
            waiting=ticker.ledger.waiting_types(),
            oldest={
                name: seconds
                for name, seconds in oldest.items()
                if steering.pause_of("", name, now) is None
            },
            wait_seconds=self.wait_seconds,
            stall_seconds=self.stall_seconds,
            pauses=[
                (pause, ticker.ledger.waiting_in(pause.namespace, pause.task_type))
                for pause in steering.in_force(now)
            ],
            stopping=not ticker.claiming,
            socket_node=self.socket_node(),
        )

    async def _rows(self) -> list[VersionRow]:
        return await self._ticker.access.read(lambda: self._ticker.store.versions(MAX_VERSIONS))

    async def _numbers(self) -> dict[str, int]:
        return {row.generation: row.number for row in reversed(await self._rows())}

    async def _versions(self) -> list[dict[str, Any]]:
        in_force = self.in_force()
        types = self.outlook.task_types()
        known = {} if in_force is None or types is None else {in_force: types}
        store = self._ticker.store
        declared = await self._ticker.access.read(lambda: store.version_declarations(MAX_VERSIONS))
        return version_documents(await self._rows(), in_force, known, declared)
