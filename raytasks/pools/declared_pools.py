"""The pools that a version of the handlers declares: their types and their bounds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from raytasks.model.handler_info import REMOTE_POOL, SHARED_POOL, HandlerInfo, HandlerKind
from raytasks.runner.sizing import SlotPlan
from raytasks.settings import Settings


@dataclass(frozen=True)
class DeclaredPool:
    """A pool of a version: the handlers that share its runners, at least one."""

    name: str
    infos: tuple[HandlerInfo, ...]

    @property
    def task_types(self) -> tuple[str, ...]:
        """The types that its runners run."""
        return tuple(info.task_type for info in self.infos)

    @property
    def ray_options(self) -> Mapping[str, Any]:
        """The Ray options of its runners' actors. All of its handlers have the same ones."""
        return self.infos[0].ray_options

    @property
    def is_remote(self) -> bool:
        """Whether its one runner starts a Ray remote task for each attempt: it has no sizes."""
        return self.name == REMOTE_POOL

    @property
    def keeps_spare(self) -> bool:
        """Whether an idle runner is kept ready beside the busy ones."""
        return self.name == SHARED_POOL

    @property
    def slots(self) -> SlotPlan:
        """The slots of each of its runners: one for all types, or some for each type."""
        if not any(info.is_concurrent for info in self.infos):
            return SlotPlan()
        return SlotPlan({info.task_type: _slots(info) for info in self.infos})

    @property
    def own_bounds(self) -> tuple[int, int] | None:
        """The least and most runners that its handlers declare; None: those of the settings."""
        info = self.infos[0]
        if info.own_pool is not None:
            return info.own_pool.runners
        return info.actors if info.kind is HandlerKind.CLASS else None

    def bounds(self, settings: Settings) -> tuple[int, int | None]:
        """Return the declared least and most runners; None: as many as the cluster's processors."""
        if self.is_remote:
            return 1, 1
        return self.own_bounds or (settings.warm_runners_min, settings.warm_runners_max)


def declared_pools(handlers: Iterable[HandlerInfo]) -> dict[str, DeclaredPool]:
    """Return the pools of some handlers, by name."""
    infos: dict[str, list[HandlerInfo]] = {}
    for info in handlers:
        infos.setdefault(info.pool, []).append(info)
    return {name: DeclaredPool(name, tuple(members)) for name, members in infos.items()}


def _slots(info: HandlerInfo) -> int:
    return info.concurrency * (1 if info.batch is None else info.batch.size)
