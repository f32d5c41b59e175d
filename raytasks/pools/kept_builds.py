"""The builds of the handlers in Ray's control store, where the tracker's next life finds them.

They hold settings and the handlers' environment, so they do not belong in the database. Ray's
control store holds the arguments of actors too, and ends with the cluster.
"""

import asyncio
import logging
from typing import Any

import ray
from ray import cloudpickle

from raytasks.pools.handlers_version import HandlersVersion

log = logging.getLogger(__name__)

_NAMESPACE = "raytasks"
_PREFIX = "raytasks.build."


class KeptBuilds:
    """The `raytasks.pools.versions.Documents` in Ray. Raises Ray's errors during a store outage."""

    async def load(self) -> list[HandlersVersion]:
        """Return the kept builds, without those that cannot be read any more."""
        return await asyncio.to_thread(_load)

    async def keep(self, version: HandlersVersion) -> None:
        """Keep a build."""
        document = cloudpickle.dumps(version)
        await asyncio.to_thread(
            _kv()._internal_kv_put, _PREFIX + version.token, document, namespace=_NAMESPACE
        )

    async def keep_only(self, token: str) -> None:
        """Forget all builds but this one."""
        await asyncio.to_thread(_forget_others, token)


def _load() -> list[HandlersVersion]:
    found = []
    for key in _kv()._internal_kv_list(_PREFIX, namespace=_NAMESPACE):
        try:
            document = cloudpickle.loads(_kv()._internal_kv_get(key, namespace=_NAMESPACE))
        except Exception as error:  # e.g. of another version of raytasks
            log.warning("a build that was kept cannot be read: %r", error)
            continue
        if isinstance(document, HandlersVersion):
            found.append(document)
    return found


def _forget_others(token: str) -> None:
    for key in _kv()._internal_kv_list(_PREFIX, namespace=_NAMESPACE):
        if key != (_PREFIX + token).encode():
            _kv()._internal_kv_del(key, namespace=_NAMESPACE)


def _kv() -> Any:
    return ray.experimental.internal_kv
