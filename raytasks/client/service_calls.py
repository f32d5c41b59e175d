"""The part of the client that looks at the service: figures, health, runners, what people did."""

from abc import abstractmethod
from collections.abc import Generator
from typing import Any, TypeVar, Unpack, cast

from raytasks.client.api import Api
from raytasks.client.inspection_documents import (
    AuditDocument,
    AuditFilters,
    AuditPageDocument,
    AuditPageQuery,
    ClusterDocument,
    ErrorsDocument,
    MeDocument,
    NamespaceDocument,
    NodeDocument,
    OutboxDocument,
    PoolDocument,
    RunnerDocument,
    StatsDocument,
    StatsSeriesDocument,
    VersionDocument,
)
from raytasks.client.steps import Steps
from raytasks.model.bounds import MAX_LISTED

T = TypeVar("T")


class Inspection:
    """The methods of `Client` that look at the service as a whole."""

    _api: Api

    @abstractmethod
    def _run(self, steps: Steps[T]) -> T:
        """Make the requests of some steps, and return their result."""

    def stats(self) -> StatsDocument:
        """Return the figures: how many tasks there are, how fast they go, how many fail."""
        return self._run(self._api.stats())

    def stats_series(
        self, seconds: int | None = None, task_type: str | None = None
    ) -> StatsSeriesDocument:
        """Return how the figures were over the last `seconds` (60 to 86,400; by default an hour).

        They are of one type, or of all.
        """
        return self._run(self._api.stats_series(seconds, task_type))

    def errors(self, task_type: str | None = None) -> ErrorsDocument:
        """Return the FAILED tasks in groups by type and class of error, of one type or of all."""
        return self._run(self._api.errors(task_type))

    def namespaces(self) -> list[NamespaceDocument]:
        """Return the namespaces that have tasks, with their counts. A bound key sees its own."""
        return self._run(self._api.namespaces())

    def me(self) -> MeDocument:
        """Return the name, scopes and namespace of the API key, and the service's version."""
        return self._run(self._api.me())

    def audit(self, **query: Unpack[AuditPageQuery]) -> AuditPageDocument:
        """Return one page of what people did, the newest first.

        `query` is that of `GET /audit`: `by`, `action`, `since`, `namespace`, `limit`, `cursor`.
        """
        return self._run(self._api.audit(query))

    def audit_entries(
        self, **filters: Unpack[AuditFilters]
    ) -> Generator[AuditDocument, None, None]:
        """Yield all that people did, the newest first, page by page; like `audit`."""
        query = cast("AuditPageQuery", {**filters, "limit": MAX_LISTED})
        while True:
            page = self._run(self._api.audit(query))
            yield from page["entries"]
            if page["next_cursor"] is None:
                return
            query["cursor"] = page["next_cursor"]

    def metrics(self) -> str:
        """Return the metrics of the whole service, as text for Prometheus."""
        return self._run(self._api.metrics())

    def task_types(self) -> dict[str, Any]:
        """Return the task types, with the schemas of their payloads."""
        return self._run(self._api.task_types())

    def health(self) -> dict[str, Any]:
        """Return how the service is; `status` is `ok` or `degraded`."""
        return self._run(self._api.health())

    def pools(self) -> list[PoolDocument]:
        """Return the pools of runners, with their sizes and backlogs."""
        return self._run(self._api.pools())

    def runners(self) -> list[RunnerDocument]:
        """Return the runners, with what they run."""
        return self._run(self._api.runners())

    def nodes(self) -> list[NodeDocument]:
        """Return the nodes of the cluster, with their resources."""
        return self._run(self._api.nodes())

    def cluster(self) -> ClusterDocument:
        """Return the nodes of the cluster, and how many Ray's autoscaler is adding."""
        return self._run(self._api.cluster())

    def versions(self) -> list[VersionDocument]:
        """Return the newest versions of the handlers, with the results of their trials."""
        return self._run(self._api.versions())

    def outbox(self) -> OutboxDocument:
        """Return what waits in the outbox: tasks that users' own transactions have committed."""
        return self._run(self._api.outbox())

    def nudge_outbox(self) -> None:
        """Have the service look into the outbox at once. It needs the scope submit.

        See `raytasks.outbox.nudge`, which waits for nothing.
        """
        self._run(self._api.nudge_outbox())
