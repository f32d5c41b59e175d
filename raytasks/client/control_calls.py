"""The part of the client that sets things at run time: limits, namespaces, pauses."""

from abc import abstractmethod
from typing import TypeVar, cast

from raytasks.client import control_requests as calls
from raytasks.client.api import Api
from raytasks.client.control_documents import LimitDocument, PauseDocument, ResumedDocument
from raytasks.client.inspection_documents import NamespaceDocument, PoolDocument
from raytasks.client.steps import Steps

T = TypeVar("T")


class Control:
    """The methods of `Client` that set things while the service runs.

    They need a key with the scope `operate` that is bound to no namespace. The client's own
    namespace plays no part in them. What they set survives restarts and deployments.
    """

    _api: Api

    @abstractmethod
    def _run(self, steps: Steps[T]) -> T:
        """Make the requests of some steps, and return their result."""

    def limits(self) -> list[LimitDocument]:
        """Return the limits, with their bounds and their use."""
        return cast("list[LimitDocument]", self._run(self._api.part(calls.LIMITS, "limits")))

    def set_limit(
        self,
        name: str,
        *,
        running: int | None = None,
        rate: float | None = None,
        per_seconds: float | None = None,
        burst: int | None = None,
    ) -> LimitDocument:
        """Set all bounds of a limit, in place of the declared ones, and return it.

        At most `running` attempts run at a time, and `rate` of them begin in each `per_seconds`
        (by default 1), `burst` of them at once. What is None is no bound.
        """
        call = calls.set_limit_call(name, running, rate, per_seconds, burst)
        return cast("LimitDocument", self._run(self._api.ask(call)))

    def clear_limit(self, name: str) -> LimitDocument:
        """Return to a limit's declared bounds, and return it."""
        return cast("LimitDocument", self._run(self._api.ask(calls.clear_limit_call(name))))

    def set_pool(self, name: str, least: int, most: int) -> PoolDocument:
        """Set the fewest and the most runners of a pool, in place of the declared ones.

        Returns the pool. Runners beyond the most finish what they run.
        """
        call = calls.set_pool_call(name, least, most)
        return cast("PoolDocument", self._run(self._api.ask(call)))

    def clear_pool(self, name: str) -> PoolDocument:
        """Return to a pool's declared sizes, and return it."""
        return cast("PoolDocument", self._run(self._api.ask(calls.clear_pool_call(name))))

    def set_namespace(
        self, name: str, *, weight: float | None = None, max_backlog: int | None = None
    ) -> NamespaceDocument:
        """Set the share of a namespace, and return it.

        Its `weight` is 1 by default. With `max_backlog`, no more than so many of its tasks may
        wait.
        """
        call = calls.set_namespace_call(name, weight, max_backlog)
        return cast("NamespaceDocument", self._run(self._api.ask(call)))

    def clear_namespace(self, name: str) -> NamespaceDocument:
        """Give a namespace the weight 1 again and no bound of its own, and return it."""
        call = calls.clear_namespace_call(name)
        return cast("NamespaceDocument", self._run(self._api.ask(call)))

    def pauses(self) -> list[PauseDocument]:
        """Return the pauses in force."""
        return cast("list[PauseDocument]", self._run(self._api.part(calls.PAUSES, "pauses")))

    def pause(
        self,
        task_type: str | None = None,
        *,
        namespace: str | None = None,
        seconds: float | None = None,
    ) -> list[PauseDocument]:
        """Hand out no tasks of a type, a namespace, or both; without them, none at all.

        It ends after `seconds`, or with `resume`. What runs goes on. Returns the pauses in force.
        """
        call = calls.pause_call(task_type, namespace, seconds)
        return cast("list[PauseDocument]", self._run(self._api.part(call, "pauses")))

    def resume(
        self, task_type: str | None = None, *, namespace: str | None = None
    ) -> ResumedDocument:
        """End the pause of exactly this type and namespace, or that of the whole service."""
        call = calls.resume_call(task_type, namespace)
        return cast("ResumedDocument", self._run(self._api.ask(call)))
