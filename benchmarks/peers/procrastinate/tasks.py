"""The task of the peer Procrastinate, and how it is set. See `benchmarks/README.md`."""

import os

from procrastinate import App, PsycopgConnector

app = App(
    connector=PsycopgConnector(conninfo=os.environ["DATABASE_URL"], min_size=4, max_size=16),
    import_paths=["tasks"],
)


@app.task(name="noop")
async def noop() -> None:
    """Do nothing."""
