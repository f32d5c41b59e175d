"""The application that Serve builds: an error of ours is a line, and no reason to try again."""

from collections.abc import Callable
from typing import Any

import click
import pytest

# Ray Serve's own, when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`")


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The builder, where the trial of the handlers fails."""
    from raytasks import serve_app
    from raytasks.cluster.tracker_calls import ServiceError

    def refuse(_: object) -> None:
        raise ServiceError("the handlers are refused: no torch")

    monkeypatch.setattr(serve_app, "built_application", refuse)
    return serve_app.app


def test_in_a_task_of_the_cluster(app: Callable[..., Any]) -> None:
    from ray.serve.exceptions import RayServeException  # what Serve shows without a new try

    with pytest.raises(RayServeException, match="refused: no torch"):
        app({})


def test_in_the_command(app: Callable[..., Any]) -> None:
    with (
        click.Context(click.Command("run")),
        pytest.raises(click.ClickException, match="refused: no torch"),
    ):
        app({})
