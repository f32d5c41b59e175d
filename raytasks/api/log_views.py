"""The models of the service's log in the OpenAPI document."""

from pydantic import AwareDatetime, BaseModel


class LogLineView(BaseModel):
    """A line of the log. Its `fields` say what it is about, such as `task_id` and `outcome`."""

    id: str
    at: AwareDatetime
    level: str
    message: str
    fields: dict[str, str | int | float | bool]


class LogPageView(BaseModel):
    """Lines of the log, the oldest first.

    `next` is the place to go on after. With `gap`, lines before these are gone; with `more`,
    further ones can be had at once.
    """

    lines: list[LogLineView]
    next: str
    gap: bool
    more: bool


class LogGapView(BaseModel):
    """Data of a `gap` event: lines are gone. The tracker may have been started again."""


LOG_EVENTS: dict[str, type[BaseModel]] = {"line": LogLineView, "gap": LogGapView}
