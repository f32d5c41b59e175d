"""The documents about what people set at run time, as clients get them."""

from typing import TypedDict

from raytasks.client.documents import LimitValue


class BoundsDocument(TypedDict):
    """The bounds of a limit; None where there is none."""

    running: int | None
    rate: float | None
    per_seconds: float | None
    burst: int | None


class OverrideDocument(BoundsDocument):
    """The bounds that a person has set: who, and when."""

    changed_at: str
    by: str


class KeyDocument(TypedDict):
    """The use of a limit for one value, within a namespace."""

    namespace: str
    value: LimitValue
    running: int
    waiting: int
    tokens: float | None


class LimitDocument(TypedDict):
    """A limit: as declared, as set instead, as in force, and its use. See `GET /limits`."""

    name: str
    keyed: bool
    ordered: bool
    declared: BoundsDocument | None
    override: OverrideDocument | None
    in_force: BoundsDocument | None
    types: list[str]
    running: int
    waiting: int
    tokens: float | None
    fullest: list[KeyDocument]


class PauseDocument(TypedDict):
    """A pause. Its namespace and type are None where it holds for all of them."""

    namespace: str | None
    task_type: str | None
    since: str
    until: str | None
    by: str
    drain: bool
    waiting: int


class ResumedDocument(TypedDict):
    """Whether a pause was ended, and the pauses that are still in force."""

    ended: bool
    pauses: list[PauseDocument]
