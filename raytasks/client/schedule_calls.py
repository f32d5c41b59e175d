"""The part of the client that is about schedules."""

from abc import abstractmethod
from typing import TypeVar, Unpack, cast

from raytasks.client import schedule_requests as calls
from raytasks.client.api import Api
from raytasks.client.documents import TaskDocument
from raytasks.client.schedule_documents import ScheduleDocument, ScheduleSettings
from raytasks.client.steps import Steps

T = TypeVar("T")


class Schedules:
    """The methods of `Client` about the schedules of its namespace.

    They need a key with the scope `operate`.
    """

    _api: Api

    @abstractmethod
    def _run(self, steps: Steps[T]) -> T:
        """Make the requests of some steps, and return their result."""

    def schedules(self, *, name: str | None = None) -> list[ScheduleDocument]:
        """Return the schedules by name, each with its next five times.

        With a `name`, return only that one: a list of one, or none if there is no such schedule.
        """
        return self._run(calls.all_schedules(self._api, name))

    def set_schedule(self, name: str, **settings: Unpack[ScheduleSettings]) -> ScheduleDocument:
        """Set a schedule, a new one or instead of a declared one, and return it.

        `settings` are those of `PUT /schedules/{name}`: `task_type` (or the handler itself),
        `payload`, `cron` or `every_seconds`, and so on.
        """
        call = calls.set_schedule_call(name, settings)
        return cast("ScheduleDocument", self._run(self._api.ask(call)))

    def clear_schedule(self, name: str) -> ScheduleDocument:
        """Return to a schedule's declaration, and return the schedule.

        One that no handler declares ends; then its `in_force` is None.
        """
        return cast("ScheduleDocument", self._run(self._api.ask(calls.clear_schedule_call(name))))

    def run_schedule(self, name: str) -> TaskDocument:
        """Submit a task of a schedule now, and return the task. The times do not change."""
        return cast("TaskDocument", self._run(self._api.ask(calls.schedule_call(name, "run"))))

    def pause_schedule(self, name: str) -> ScheduleDocument:
        """Let the times of a schedule pass without tasks, and return it."""
        call = calls.schedule_call(name, "pause")
        return cast("ScheduleDocument", self._run(self._api.ask(call)))

    def resume_schedule(self, name: str) -> ScheduleDocument:
        """Let a schedule go on with its next time, and return it."""
        call = calls.schedule_call(name, "resume")
        return cast("ScheduleDocument", self._run(self._api.ask(call)))
