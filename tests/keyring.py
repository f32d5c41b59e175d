"""API keys for tests, and a service that needs them."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from raytasks.api_keys import ApiKey, Scope, digest_of
from tests.local_service import Api, LocalService, serving

KEYS = {name: "rtk_" + name * 43 for name in "rsoabx"}
"""The keys that clients send, by name. The service does not know `x`."""


def _key(name: str, *scopes: str, namespace: str | None = None) -> ApiKey:
    return ApiKey(name, frozenset(map(Scope, scopes)), namespace, digest_of(KEYS[name]))


API_KEYS = (
    _key("r", "read"),
    _key("s", "submit"),
    _key("o", "operate"),
    _key("a", "read", "submit", "operate"),
    _key("b", "read", "submit", "operate", namespace="team-b"),
)


def bearer(name: str) -> dict[str, str]:
    """Return the header with a key."""
    return {"Authorization": f"Bearer {KEYS[name]}"}


@contextlib.asynccontextmanager
async def locked(
    database_url: str,
    folder: Path,
    keys: Sequence[ApiKey] = API_KEYS,
    *,
    runner: bool = False,
    **settings: Any,
) -> AsyncIterator[Api]:
    """A service that needs keys, with a client that shows none."""
    service = LocalService(database_url, folder, api_keys=keys, secret_key="own", **settings)
    async with serving(service, runner=runner) as api:
        yield api
