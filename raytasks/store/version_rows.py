"""The handlers' versions in the database: their numbers, and the results of their trials."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from msgspec import json
from sqlalchemy import Connection, insert, select, update

from raytasks.store.service_tables import handlers_versions, tracker_epoch
from raytasks.store.statements import param
from raytasks.store.transaction import Superseded


class VersionState(StrEnum):
    """The state of a version's trial."""

    TRIAL = "trial"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True)
class VersionRow:
    """A version as stored. `detail` says why it failed its trial; times are seconds since 1970."""

    number: int
    token: str
    generation: str
    state: VersionState
    seen_at: float
    detail: str | None = None


_COLUMNS = (
    handlers_versions.c.number,
    handlers_versions.c.token,
    handlers_versions.c.generation,
    handlers_versions.c.state,
    handlers_versions.c.seen_at,
    handlers_versions.c.detail,
)
_BY_TOKEN = select(*_COLUMNS).where(handlers_versions.c.token == param("token"))
_NEWEST = select(*_COLUMNS).order_by(handlers_versions.c.number.desc()).limit(param("limit"))
_DECLARATIONS = (
    select(handlers_versions.c.number, handlers_versions.c.declarations)
    .order_by(handlers_versions.c.number.desc())
    .limit(param("limit"))
)
_NUMBER = insert(handlers_versions).values(
    token=param("token"),
    generation=param("generation"),
    state=VersionState.TRIAL.value,
    seen_at=param("now"),
    declarations=param("declarations"),
)
_JUDGE = (
    update(handlers_versions)
    .where(
        handlers_versions.c.token == param("token"),
        handlers_versions.c.state == VersionState.TRIAL.value,
    )
    .values(state=param("state"), detail=param("detail"))
)
_OUR_EPOCH = (
    select(tracker_epoch.c.epoch).where(tracker_epoch.c.epoch == param("epoch")).with_for_update()
)


def number(
    connection: Connection,
    epoch: int,
    token: str,
    generation: str,
    declarations: Mapping[str, str],
    now: float,
) -> tuple[VersionRow, bool]:
    """Return the version of this token, and whether it is new: then it gets the next number.

    A new one is stored with its `declarations`: a digest of each, by task type.
    """
    _check_epoch(connection, epoch)
    known = connection.execute(_BY_TOKEN, {"p_token": token}).first()
    if known is None:
        bound = {
            "p_token": token,
            "p_generation": generation,
            "p_declarations": json.encode(declarations).decode(),
            "p_now": now,
        }
        connection.execute(_NUMBER, bound)
        row = connection.execute(_BY_TOKEN, {"p_token": token}).one()
        return _row(row), True
    return _row(known), False


def judge(
    connection: Connection, epoch: int, token: str, state: VersionState, detail: str | None
) -> VersionRow | None:
    """Store the verdict on a version's trial, and return its row. Raises `Superseded`.

    The first verdict stays: then the result is None.
    """
    _check_epoch(connection, epoch)
    bound = {"p_token": token, "p_state": state.value, "p_detail": detail}
    if connection.execute(_JUDGE, bound).rowcount != 1:
        return None
    return _row(connection.execute(_BY_TOKEN, {"p_token": token}).one())


def newest(connection: Connection, limit: int) -> list[VersionRow]:
    """Return the newest versions, the newest first."""
    return [_row(row) for row in connection.execute(_NEWEST, {"p_limit": limit})]


def declarations(connection: Connection, limit: int) -> dict[int, dict[str, str]]:
    """Return the digest of each declaration by task type, of the newest versions by number.

    Versions that an earlier release has numbered are left out.
    """
    rows = connection.execute(_DECLARATIONS, {"p_limit": limit})
    return {number: json.decode(text) for number, text in rows if text is not None}


def _check_epoch(connection: Connection, epoch: int) -> None:
    if connection.execute(_OUR_EPOCH, {"p_epoch": epoch}).first() is None:
        raise Superseded(f"epoch {epoch} has ended")


def _row(row: Any) -> VersionRow:
    return VersionRow(
        row.number, row.token, row.generation, VersionState(row.state), row.seen_at, row.detail
    )
