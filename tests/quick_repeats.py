"""A pytest plugin: what a process does once at most, and tests do hundreds of times, is done once.

That is the reading of the migrations and of trusted certificates, and the tree of the commands.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import httpx
import pytest
import typer.main
from alembic.config import Config
from alembic.script import ScriptDirectory
from httpx._transports import default

from raytasks.cli import app


@cache
def _scripts_in(read: Callable[[Config], ScriptDirectory], place: str) -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", place.replace("%", "%%"))
    return read(config)


def pytest_configure(config: pytest.Config) -> None:
    """Have all tests of this process share them."""
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    patch.setattr(default, "create_ssl_context", cache(httpx.create_ssl_context))

    read = ScriptDirectory.from_config

    def scripts(config: Config) -> ScriptDirectory:
        return _scripts_in(read, config.get_main_option("script_location") or "")

    patch.setattr(ScriptDirectory, "from_config", scripts)

    build = typer.main.get_command
    known: list[Any] = []

    def command(of: typer.Typer) -> Any:
        if of is not app:
            return build(of)
        if not known:
            known.append(build(of))
        return known[0]

    patch.setattr(typer.main, "get_command", command)
