"""The operations that look at the service as a whole, as steps."""

from abc import abstractmethod
from typing import Any

import httpx

from raytasks.client.answers import content_of
from raytasks.client.bodies import given
from raytasks.client.inspection_documents import (
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
from raytasks.client.requests import Call
from raytasks.client.steps import Steps


class InspectionSteps:
    """The operations of `Api` that look at the service as a whole."""

    url: str

    @abstractmethod
    def _ask(self, call: Call) -> Steps[Any]:
        """Make a request, and get its document."""

    @abstractmethod
    def _part(self, call: Call, name: str) -> Steps[Any]:
        """Make a request, and get one member of its document."""

    @abstractmethod
    def _exchange(self, call: Call) -> Steps[httpx.Response]:
        """Send a request until it gets a permanent answer, or is given up."""

    def errors(self, task_type: str | None) -> Steps[ErrorsDocument]:
        """Get the groups of failures."""
        return self._ask(Call("GET", "/errors", given({"task_type": task_type})))

    def namespaces(self) -> Steps[list[NamespaceDocument]]:
        """Get the namespaces that have tasks."""
        return self._part(Call("GET", "/namespaces"), "namespaces")

    def me(self) -> Steps[MeDocument]:
        """Get who the caller is."""
        return self._ask(Call("GET", "/me"))

    def audit(self, query: AuditPageQuery) -> Steps[AuditPageDocument]:
        """Get one page of the audit. It is that of the whole service."""
        return self._ask(Call("GET", "/audit", given(query)))

    def stats(self) -> Steps[StatsDocument]:
        """Get the figures."""
        return self._ask(Call("GET", "/stats"))

    def stats_series(
        self, seconds: int | None, task_type: str | None
    ) -> Steps[StatsSeriesDocument]:
        """Get the figures over time."""
        query = given({"seconds": seconds, "task_type": task_type})
        return self._ask(Call("GET", "/stats/series", query))

    def metrics(self) -> Steps[str]:
        """Get the metrics."""
        call = Call("GET", "/metrics")
        response = yield from self._exchange(call)
        return content_of(call, response, self.url).decode()

    def task_types(self) -> Steps[dict[str, Any]]:
        """Get the task types."""
        return self._ask(Call("GET", "/task-types"))

    def health(self) -> Steps[dict[str, Any]]:
        """Look how the service is."""
        return self._ask(Call("GET", "/health", accepts=(503,)))

    def pools(self) -> Steps[list[PoolDocument]]:
        """Get the pools of runners, with their sizes and backlogs."""
        return self._part(Call("GET", "/pools"), "pools")

    def runners(self) -> Steps[list[RunnerDocument]]:
        """Get the runners, with what they run."""
        return self._part(Call("GET", "/runners"), "runners")

    def nodes(self) -> Steps[list[NodeDocument]]:
        """Get the nodes of the cluster, with their resources."""
        return self._part(Call("GET", "/nodes"), "nodes")

    def cluster(self) -> Steps[ClusterDocument]:
        """Get the nodes of the cluster, and how many are being added. Services before 0.6: none."""
        document: ClusterDocument = yield from self._ask(Call("GET", "/nodes"))
        document.setdefault("nodes_coming", {})
        return document

    def versions(self) -> Steps[list[VersionDocument]]:
        """Get the newest versions of the handlers, with the results of their trials."""
        return self._part(Call("GET", "/versions"), "versions")

    def outbox(self) -> Steps[OutboxDocument]:
        """Get the state of the outbox."""
        return self._ask(Call("GET", "/outbox"))

    def nudge_outbox(self) -> Steps[Any]:
        """Have the outbox looked at."""
        return self._ask(Call("POST", "/outbox/nudge", harmless=True))
