"""The pytest plugin: the fixture `raytasks_queue`. pytest loads it where raytasks is installed."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from raytasks.testing import Queue

_MARKER = "raytasks"


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(handlers=[...], **options): what the fixture raytasks_queue is made with; "
        "the options are those of raytasks.testing.Queue",
    )


@pytest.fixture
def raytasks_queue(request: pytest.FixtureRequest) -> Iterator["Queue"]:
    """A `raytasks.testing.Queue` for one test, over the handlers of TASK_MODULES.

    A marker sets other handlers, and options: `@pytest.mark.raytasks(handlers=[resize])`.
    """
    try:
        from raytasks.testing import Queue  # only at its use: the plugin is loaded everywhere
    except ModuleNotFoundError as error:
        if error.name != "raytasks.testing":
            raise
        raise pytest.UsageError(
            "the fixture raytasks_queue needs the package raytasks, and only raytasks-client is "
            "installed: pip install raytasks"
        ) from None

    marker = request.node.get_closest_marker(_MARKER)
    if marker is not None and marker.args:
        raise pytest.UsageError(f"name what you give: @pytest.mark.{_MARKER}(handlers=[...])")
    with Queue(**({} if marker is None else marker.kwargs)) as queue:
        yield queue
