"""The table of endpoints in docs/security.md, compared with the routes and what they refuse."""

import re
from pathlib import Path

from tests.keyring import bearer, locked

DOCUMENT = Path(__file__).parents[2] / "docs" / "security.md"
ROW = re.compile(r"^\| `(GET|POST|PUT|PATCH|DELETE) (/[^`]*)` \| ([^|]+) \|$", re.MULTILINE)
UNKNOWN = "0198c1de-0000-7000-8000-000000000000"
KEYS = {"read": "r", "submit": "s", "operate": "o"}


async def test_the_table_names_every_endpoint_with_its_scope(
    sqlite_url: str, tmp_path: Path
) -> None:
    table = {(row[1], row[2]): row[3] for row in ROW.finditer(DOCUMENT.read_text())}
    async with locked(sqlite_url, tmp_path) as api:
        described = (await api.client.get("/openapi.json")).json()["paths"]
        routes = {
            (method.upper(), path)
            for path, methods in described.items()
            for method in methods
            if method != "parameters"
        }
        assert set(table) == routes
        for (method, path), who in table.items():
            scope = re.split(r"[ ,;]", who)[0]
            url = re.sub(r"\{[^}]*\}", UNKNOWN, path)
            for name, key in KEYS.items():
                if path.endswith("/events"):
                    continue  # they go on
                answer = await api.client.request(method, url, headers=bearer(key))
                refused = scope in KEYS and name != scope
                assert (answer.status_code == 403) == refused, (method, path, name)
            stranger = await api.client.request(method, url)
            assert (stranger.status_code == 401) == (scope != "public"), (method, path)
            if "bound to no namespace" in who:
                bound = await api.client.request(method, url, headers=bearer("b"))
                assert bound.status_code == 403, (method, path)
