"""The filter for tasks in requests: the query of lists, and the body of bulk operations."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, Field

from raytasks.api.asked_times import AskedTime
from raytasks.handling.declaration_checks import TASK_TYPE
from raytasks.handling.submit_request import TAG
from raytasks.model.states import State
from raytasks.model.task_filter import TaskFilter
from raytasks.model.time_text import rfc3339

NO_CONTROL = r"^[^\x00-\x1f\x7f]+$"
"""The pattern of a text without control characters, which PostgreSQL may refuse."""


class FilterFields(BaseModel):
    """The parts of a filter, without the states and the namespace."""

    task_type: str | None = Field(default=None, pattern=f"^{TASK_TYPE}$")
    tag: str | None = Field(default=None, pattern=f"^{TAG}$")
    created_after: AskedTime | None = Field(
        default=None, description="Created then or later (RFC 3339, with a time zone)."
    )
    created_before: AskedTime | None = Field(
        default=None, description="Created before that time (RFC 3339, with a time zone)."
    )
    error_type: str | None = Field(
        default=None,
        max_length=100,
        pattern=NO_CONTROL,
        description="The class of the last attempt's error, such as `ValueError`.",
    )

    def filter_in(
        self, namespace: str, states: Iterable[State], *, ids_by_clock: bool
    ) -> TaskFilter:
        """Return the filter for tasks of a namespace in some states; without one, in any."""
        wanted = set(states)
        after, before = self.created_after, self.created_before
        return TaskFilter(
            namespace=namespace,
            states=tuple(state for state in State if state in wanted),
            task_type=self.task_type,
            tag=self.tag,
            created_after=None if after is None else after.timestamp(),
            created_before=None if before is None else before.timestamp(),
            error_type=self.error_type,
            ids_by_clock=ids_by_clock,
        )


class FilterView(FilterFields):
    """A filter. null means any; for `state`, any that the operation can change."""

    state: State | list[State] | None


def filter_json(asked: TaskFilter) -> dict[str, Any]:
    """Return a filter as the API shows it."""
    states: Any = list(asked.states) or None
    if len(asked.states) == 1:
        [states] = asked.states
    return {
        "state": states,
        "task_type": asked.task_type,
        "tag": asked.tag,
        "created_after": rfc3339(asked.created_after),
        "created_before": rfc3339(asked.created_before),
        "error_type": asked.error_type,
    }
