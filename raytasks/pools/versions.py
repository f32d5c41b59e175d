"""The versions of the handlers: which is in force, and which was tried and refused. No Ray.

Each build has a random token. When the tracker first sees a build, it numbers it in SQL and has it
tried. The highest number that has passed its trial is in force. So clocks play no part. An old
build does not come back into force when it is announced again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from raytasks.model.acts import BY_SERVE, UNKNOWN
from raytasks.model.tasks import DEFAULT_NAMESPACE, RaytasksError, StoreUnavailable
from raytasks.observe.log_record import with_fields
from raytasks.pools.handlers_version import HandlersVersion
from raytasks.store.version_rows import VersionRow, VersionState

log = logging.getLogger(__name__)

KEPT_VERSIONS = 1000
"""How many versions the tracker keeps in memory. For older ones it asks the database."""

_LOADED_SECONDS = 20.0
_ANNOUNCED_SECONDS = 1.0
_RESTORE_SECONDS = 1.0
_NOT_READY = "the tracker does not know yet which version is in force; try again soon"

Trial = Callable[[HandlersVersion], Awaitable[str | None]]
"""Tries a build where it will run. Returns the fault as one line, or None if it passes."""


class Documents(Protocol):
    """The place where builds are kept, so that the next life of the tracker has them."""

    async def load(self) -> list[HandlersVersion]:
        """Return the kept builds."""

    async def keep(self, version: HandlersVersion) -> None:
        """Keep a build."""

    async def keep_only(self, token: str) -> None:
        """Forget all builds but this one."""


class VersionRefused(RaytasksError):
    """A build has failed its trial, and is not in force. The text says why."""


@dataclass(frozen=True)
class Announced:
    """The state of an API replica's build: on trial, refused (with `error`), or passed."""

    on_trial: bool = False
    error: str | None = None


@dataclass(frozen=True)
class DeployAnswer:
    """The result of a deploy.

    - `number`: the number of the build.
    - `error`: why its trial failed; None if it passed.
    - `in_force`: the number of the version that is in force now, or None.
    - `without_handler`: how many tasks wait, for each type that has no handler in that version.
    - `unchanged`: the settings that the build has other values of, but a deploy cannot change.
    - `gone_types`, `gone_schedules`: those that the version in force before had, and it has not.
    """

    number: int
    error: str | None
    in_force: int | None
    without_handler: dict[str, int]
    unchanged: tuple[str, ...] = ()
    gone_types: tuple[str, ...] = ()
    gone_schedules: tuple[str, ...] = ()


class VersionTable(Protocol):
    """The table of versions, as the tracker of one epoch reads and writes it."""

    async def number(self, version: HandlersVersion) -> VersionRow:
        """Return the row of a build; make it, with the next number, if there is none.

        Raises `StoreUnavailable`.
        """

    async def judge(
        self, token: str, state: VersionState, detail: str | None, by: str = UNKNOWN
    ) -> None:
        """Store the result of a trial, and who has deployed it. Raises `StoreUnavailable`."""

    async def newest(self) -> list[VersionRow]:
        """Return the newest versions. Raises `StoreUnavailable`."""


class Versions:
    """Numbers builds, has each tried once, and puts the newest one that passed in force."""

    def __init__(
        self,
        book: VersionTable,
        documents: Documents,
        trial: Trial,
        put_in_force: Callable[[HandlersVersion], None],
    ) -> None:
        self._book = book
        self._documents = documents
        self._trial = trial
        self._put_in_force = put_in_force
        self._known: dict[str, VersionRow] = {}
        self._trials: dict[str, asyncio.Task[VersionRow]] = {}
        self._failed: VersionRow | None = None
        self._restored = asyncio.Event()
        self._replaced: HandlersVersion | None = None
        self.row: VersionRow | None = None
        self.version: HandlersVersion | None = None
        """The version in force, and `row` its row; None before the first version has passed."""

    async def restore(self) -> None:
        """Put in force again the version of the tracker's earlier life. Retries until it can."""
        while True:
            try:
                await self._restore()
            except Exception as error:
                log.warning("which version is in force cannot be read; trying again: %r", error)
                await asyncio.sleep(_RESTORE_SECONDS)
            else:
                self._restored.set()
                return

    async def _restore(self) -> None:
        documents = {document.token: document for document in await self._documents.load()}
        rows = await self._book.newest()
        self._known = {row.token: row for row in rows}
        for row in reversed(rows):
            if row.state is VersionState.PASSED and row.token in documents:
                self._adopt(row, documents[row.token])
        if rows and rows[0].state is VersionState.FAILED and self._failed is None:
            self._failed = rows[0]

    async def deploy(self, version: HandlersVersion, by: str = UNKNOWN) -> VersionRow:
        """Have a build tried, and put it in force if it passes; return its row.

        Safe to repeat: a build is tried once. It is deployed `by` a person. Raises
        `StoreUnavailable`.
        """
        try:
            async with asyncio.timeout(_LOADED_SECONDS):
                await self._restored.wait()
        except TimeoutError:
            raise StoreUnavailable(_NOT_READY) from None
        known = self._known.get(version.token)
        if known is not None and known.state is not VersionState.TRIAL:
            if known.state is VersionState.PASSED and self.version is None:
                self._adopt(known, version)  # its document is not kept anywhere else
            return known
        running = self._trials.get(version.token)
        if running is None:
            running = asyncio.ensure_future(self._judge(version, by))
            running.add_done_callback(lambda done: self._over(version.token, done))
            self._trials[version.token] = running
        return await asyncio.shield(running)

    def answer(
        self, row: VersionRow, waiting: Mapping[str, int], unchanged: Iterable[str] = ()
    ) -> DeployAnswer:
        """Return the answer to a deployment of the build of this row, when it is judged.

        `waiting` are the numbers of tasks that wait, by type.
        """
        old, new = self._replaced, self.version
        is_new = self.row is not None and self.row.number == row.number
        gone_types: set[str] = set()
        gone_schedules: set[str] = set()
        if is_new and old is not None and new is not None:
            gone_types = set(old.task_types) - set(new.task_types)
            gone_schedules = {
                key.name if key.namespace == DEFAULT_NAMESPACE else f"{key.namespace}/{key.name}"
                for key in old.schedule_keys - new.schedule_keys
            }
        return DeployAnswer(
            number=row.number,
            error=row.detail if row.state is VersionState.FAILED else None,
            in_force=None if self.row is None else self.row.number,
            without_handler=self.without_handler(waiting),
            unchanged=tuple(unchanged),
            gone_types=tuple(sorted(gone_types)),
            gone_schedules=tuple(sorted(gone_schedules)),
        )

    async def announce(self, version: HandlersVersion) -> Announced:
        """Take the build that an API replica brings, and return its state within about a second.

        A build that is known already changes nothing, whatever its number. Raises
        `StoreUnavailable`.
        """
        try:
            async with asyncio.timeout(_ANNOUNCED_SECONDS):
                row = await self.deploy(version, BY_SERVE)
        except TimeoutError:
            if version.token in self._known:
                return Announced(on_trial=True)
            raise StoreUnavailable(_NOT_READY) from None
        return Announced(error=row.detail if row.state is VersionState.FAILED else None)

    def report(self, waiting: Mapping[str, int]) -> tuple[dict[str, Any], list[Any]]:
        """Return the part of `/health` about the handlers, and the reasons in it."""
        lost = self.without_handler(waiting)
        failed = self._failed
        document = {
            "ok": True,
            "version": self.row and self.row.number,
            "generation": self.row and self.row.generation,
            "seen_at": self.row and self.row.seen_at,
            "trying": len(self._trials),
            "failed": failed
            and {"version": failed.number, "seen_at": failed.seen_at, "error": failed.detail},
            "without_handler": lost,
        }
        reasons = []
        if failed is not None:
            serving = "none is in force" if self.row is None else f"{self.row.number} is in force"
            reasons.append(
                {
                    "code": "version_failed",
                    "message": f"version {failed.number} of the handlers failed its trial, and "
                    f"{serving}: {failed.detail}",
                    "fix": "mend it, and deploy again",
                    "since": failed.seen_at,
                    "count": 1,
                }
            )
        for task_type, count in sorted(lost.items()):
            reasons.append(
                {
                    "code": "no_handler",
                    "message": f"{count} tasks of the type {task_type} wait, and the version in "
                    "force has no handler for it",
                    "fix": "deploy a version that has one, or cancel them",
                    "since": self.row and self.row.seen_at,
                    "count": count,
                }
            )
        return document, reasons

    def without_handler(self, waiting: Mapping[str, int]) -> dict[str, int]:
        """Return how many tasks wait, for each type that has no handler in the version in force."""
        if self.version is None:
            return {}
        have = {info.task_type for info in self.version.all_handlers}
        return {name: count for name, count in waiting.items() if name not in have}

    async def _judge(self, version: HandlersVersion, by: str) -> VersionRow:
        row = self._known[version.token] = await self._book.number(version)
        if row.state is VersionState.TRIAL:
            log.info("version %d of the handlers is tried", row.number, extra=_fields(row.number))
            wrong = await self._trial(version)
            state = VersionState.PASSED if wrong is None else VersionState.FAILED
            if wrong is None:
                await self._documents.keep(version)
            await self._book.judge(row.token, state, wrong, by)
            row = replace(row, state=state, detail=wrong)
        self._known[row.token] = row
        if row.state is VersionState.PASSED:
            if self._adopt(row, version):
                await self._forget_others(row.token)
        elif self.row is None or row.number > self.row.number:
            log.error(
                "version %d of the handlers is refused: %s",
                row.number,
                row.detail,
                extra=_fields(row.number),
            )
            self._failed = row
        return row

    async def _forget_others(self, token: str) -> None:
        try:
            await self._documents.keep_only(token)
        except Exception as error:
            log.warning("builds that are no longer in force stay kept: %s", error)

    def _adopt(self, row: VersionRow, version: HandlersVersion) -> bool:
        """Put a passed version in force, unless a later one is; return whether this was done."""
        if self.row is not None and self.row.number > row.number:
            return False
        self._replaced = self.version
        self.row, self.version = row, version
        if self._failed is not None and self._failed.number < row.number:
            self._failed = None
        log.info(
            "version %d of the handlers is in force: %s",
            row.number,
            ", ".join(version.task_types),
            extra=_fields(row.number, row.generation),
        )
        self._put_in_force(version)
        return True

    def _over(self, token: str, done: "asyncio.Task[VersionRow]") -> None:
        self._trials.pop(token, None)
        if not done.cancelled() and done.exception() is not None:
            log.warning("a version could not be tried: %s", done.exception())


def _fields(number: int, generation: str | None = None) -> dict[str, object]:
    return with_fields(version=number, generation=generation)
