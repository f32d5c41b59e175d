"""The table of the handlers' versions, read and written beside the tracker's ticks."""

from raytasks.model.acts import UNKNOWN
from raytasks.pools.handlers_version import HandlersVersion
from raytasks.pools.versions import KEPT_VERSIONS
from raytasks.store.version_rows import VersionRow, VersionState
from raytasks.tracker.logged_acts import log_acts
from raytasks.tracker.ticker import Ticker


class VersionBook:
    """The table of versions, as the tracker of one epoch reads and writes it."""

    def __init__(self, ticker: Ticker) -> None:
        self._ticker = ticker

    async def number(self, version: HandlersVersion) -> VersionRow:
        """Give a version its number: see `VersionTable.number`."""
        ticker = self._ticker
        token, generation, declared = version.token, version.generation, version.declarations
        row, _ = await ticker.access.write(
            lambda: ticker.store.number_version(
                ticker.epoch, token, generation, declared, ticker.clock()
            )
        )
        return row

    async def judge(
        self, token: str, state: VersionState, detail: str | None, by: str = UNKNOWN
    ) -> None:
        """Store the verdict on a version: see `VersionTable.judge`."""
        ticker = self._ticker
        acts = await ticker.access.write(
            lambda: ticker.store.judge_version(
                ticker.epoch, token, state, detail, by, ticker.clock()
            )
        )
        log_acts(acts)

    async def newest(self) -> list[VersionRow]:
        """Return the newest versions: see `VersionTable.newest`."""
        await self._ticker.loaded.wait()
        return await self._ticker.access.read(lambda: self._ticker.store.versions(KEPT_VERSIONS))
