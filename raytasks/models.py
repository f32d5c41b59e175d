"""The old place of the errors that users catch, until version 0.4."""

from raytasks.moved import moved

_ERRORS = (
    "BacklogFull",
    "KeyConflict",
    "RaytasksError",
    "StateConflict",
    "StoreUnavailable",
    "TaskFailed",
    "TaskNotFound",
)

__getattr__ = moved(__name__, dict.fromkeys(_ERRORS, "raytasks"))
