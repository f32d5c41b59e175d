"""The places of the page that axe looks at, and of which there are pictures."""

from collections.abc import Mapping

PLACES = {
    "tasks": "/tasks",
    "tasks-filtered": "/tasks?state=FAILED&state=CANCELLED&tag=nightly",
    "tasks-none": "/tasks?tag=nobody-has-this",
    "task-done": "/tasks/{done}",
    "task-failed": "/tasks/{failed}",
    "task-running": "/tasks/{runs}",
    "task-waiting": "/tasks/{later}",
    "task-hidden-fields": "/tasks/{secret}",
    "task-cancelled": "/tasks/{cancelled}",
    "empty": "/tasks?namespace=nobody",
}
"""The fragment of each place by its name; `{name}` is the id of a task of `filled_service`."""


def place_of(name: str, tasks: Mapping[str, str]) -> str:
    """Return the fragment of a place."""
    return PLACES[name].format(**tasks)
