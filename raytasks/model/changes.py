"""Changes of a task that waits: new values for some of its fields. Data only.

Times are in seconds since the epoch (UTC).
"""

from typing import Any

from msgspec import UNSET, Struct, UnsetType, json
from msgspec.structs import replace

from raytasks.model.tasks import Task


class TaskChanges(Struct, frozen=True, omit_defaults=True):
    """New values for fields of a task. What is UNSET stays as it is.

    - `payload`: JSON text. If it is too large for SQL, it is `null`, and `payload_ref` names its
      file.
    - `run_at`, or `delay_seconds` after the change, by the tracker's clock.
    - `timeout_seconds`: None for no limit.
    - `tags`: a JSON list, or None for none.
    - `limit_values`: all values of its keyed limits (a JSON object), or None.
    - `expires_at`, or `expires_seconds` after the change. With `expires_at` None it never expires.
    """

    priority: int | UnsetType = UNSET
    max_attempts: int | UnsetType = UNSET
    timeout_seconds: float | UnsetType | None = UNSET
    run_at: float | UnsetType = UNSET
    delay_seconds: float | UnsetType = UNSET
    payload: str | UnsetType = UNSET
    payload_ref: str | None = None
    tags: str | UnsetType | None = UNSET
    limit_values: str | UnsetType | None = UNSET
    expires_at: float | UnsetType | None = UNSET
    expires_seconds: float | UnsetType = UNSET

    @property
    def names(self) -> list[str]:
        """The names of the changed fields."""
        return [
            name
            for name in self.__struct_fields__
            if name != "payload_ref" and getattr(self, name) is not UNSET
        ]

    @property
    def moves_in_time(self) -> bool:
        """Whether the task is due at another time."""
        return self.run_at is not UNSET or self.delay_seconds is not UNSET

    @property
    def sets_expiry(self) -> bool:
        """Whether the task is to expire from now on, or at another time."""
        return self.expires_seconds is not UNSET or self.expires_at not in (UNSET, None)

    def applied_to(self, task: Task, now: float) -> Task:
        """Return the task with these values, as if it was changed at `now`."""
        values: dict[str, Any] = {
            name: getattr(self, name) for name in self.names if name in Task.__struct_fields__
        }
        if "payload" in values:
            values["payload_ref"] = self.payload_ref
        if self.delay_seconds is not UNSET:
            values["run_at"] = now + self.delay_seconds
        if self.expires_seconds is not UNSET:
            values["expires_at"] = now + self.expires_seconds
        return replace(task, **values)

    def is_done_in(self, task: Task) -> bool:
        """Return whether a task's last change had this result. The same call may come twice."""
        wanted = self.applied_to(task, task.updated_at)
        return replace(wanted, payload_ref=task.payload_ref) == task and (
            _content(wanted.payload_ref) == _content(task.payload_ref)
        )


def ask_alike(one: TaskChanges | None, other: TaskChanges | None) -> bool:
    """Return whether two calls ask for the same changes; None: for none."""
    if one is None or other is None:
        return one is other
    plain = replace(one, payload_ref=None) == replace(other, payload_ref=None)
    return plain and _content(one.payload_ref) == _content(other.payload_ref)


def _content(ref: str | None) -> tuple[int, str] | None:
    """Return size and hash of a large value. Each writing of it has a file of its own."""
    if ref is None:
        return None
    told = json.decode(ref)
    return told["bytes"], told["sha256"]
