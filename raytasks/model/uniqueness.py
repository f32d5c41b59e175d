"""Unique tasks: of those with the same key, only one is open at a time.

A key counts within a namespace and a task type. It is held by the task that has it, until its first
attempt is claimed or until it has ended.
"""

from enum import StrEnum
from typing import Any

from msgspec import Struct, json

MAX_UNIQUE_KEY = 255
"""The longest unique key, in characters."""


class UniqueUntil(StrEnum):
    """The moment when a task gives its unique key free."""

    STARTED = "started"  # its first attempt was claimed
    FINISHED = "finished"  # it has ended


class OnConflict(StrEnum):
    """The fate of a submission whose unique key is held by another task."""

    RETURN = "return"  # it is answered with that task
    REJECT = "reject"  # it is refused
    REPLACE = "replace"  # that task gets its payload and options, if it has not begun


class Unique(Struct, frozen=True, omit_defaults=True):
    """The unique key of a task.

    With `seconds`, the key is held at most so long after the submission.
    """

    key: str
    until: UniqueUntil = UniqueUntil.FINISHED
    seconds: float | None = None
    on_conflict: OnConflict = OnConflict.RETURN


def encode_unique(unique: Unique) -> str:
    """Return the JSON text of a unique key, as it is stored with its task."""
    return json.encode(unique).decode()


_decode = json.Decoder(Unique).decode


def decode_unique(text: str) -> Unique:
    """Return the unique key of its JSON text."""
    return _decode(text)


def shown_unique(text: str | None) -> dict[str, Any] | None:
    """Return the public document of a unique key from its JSON text; None without one."""
    if text is None:
        return None
    unique = decode_unique(text)
    return {
        "key": unique.key,
        "until": unique.until.value,
        "seconds": unique.seconds,
        "on_conflict": unique.on_conflict.value,
    }
