"""The places of the page that axe looks at, and of which there are pictures."""

from collections.abc import Mapping

PLACES = {
    "overview": "/overview",
    "overview-day": "/overview?over=day&task_type=transcribe",
    "overview-none": "/overview?namespace=nobody",
    "tasks": "/tasks",
    "tasks-filtered": "/tasks?state=FAILED&state=CANCELLED&tag=nightly",
    "tasks-none": "/tasks?tag=nobody-has-this",
    "task-done": "/tasks/{done}",
    "task-failed": "/tasks/{failed}",
    "task-running": "/tasks/{runs}",
    "task-waiting": "/tasks/{later}",
    "task-hidden-fields": "/tasks/{secret}",
    "task-cancelled": "/tasks/{cancelled}",
    "task-unique": "/tasks/{unique}",
    "task-scheduled": "/tasks/{scheduled}",
    "errors": "/errors",
    "errors-of-a-type": "/errors?task_type=send_invoice",
    "errors-none": "/errors?namespace=nobody",
    "types": "/types",
    "type": "/types/image_processing",
    "type-any-payload": "/types/noop",
    "type-unknown": "/types/no_such_type",
    "schedules": "/schedules",
    "schedules-none": "/schedules?namespace=nobody",
    "schedule": "/schedules/monthly-invoice",
    "schedule-set": "/schedules/weekly-talk/set",
    "schedule-new": "/schedules/+",
    "schedule-unknown": "/schedules/none",
    "runners": "/runners",
    "runners-filtered": "/runners?pool=gpu&versions=all",
    "limits": "/limits",
    "bulk": "/bulk",
    "bulk-one": "/bulk/{bulk}",
    "bulk-new": "/bulk/new?action=cancel&tag=nightly",
    "bulk-none": "/bulk?namespace=nobody",
    "audit": "/audit",
    "audit-filtered": "/audit?by=a&action=cancel&since=2020-01-01T00:00:00Z&only=namespace",
    "audit-none": "/audit?by=nobody",
    "log": "/log",
    "log-filtered": "/log?level=WARNING&task_type=embed_documents",
    "log-none": "/log?task_type=noop",
    "empty": "/tasks?namespace=nobody",
}
"""The fragment of each place by its name; `{name}` is an id of `filled_service`."""


def place_of(name: str, tasks: Mapping[str, str]) -> str:
    """Return the fragment of a place."""
    return PLACES[name].format(**tasks)
