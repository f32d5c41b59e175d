"""A pytest plugin: what a process does once at most, and tests do hundreds of times, is done once.

That is the reading of the migrations and of trusted certificates, and the tree of the commands.
"""

from collections.abc import Callable
from functools import cache

import httpx
import pytest
import typer.main
from alembic.config import Config
from alembic.script import ScriptDirectory
from httpx._transports import default


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
    patch.setattr(typer.main, "get_command", cache(typer.main.get_command))

    read = ScriptDirectory.from_config

    def scripts(config: Config) -> ScriptDirectory:
        return _scripts_in(read, config.get_main_option("script_location") or "")

    patch.setattr(ScriptDirectory, "from_config", scripts)
