"""The Serve application: `serve run --name raytasks raytasks.serve_app:app`, or `serve deploy`.

Settings come from the environment and `.env`. The tracker and the runners are detached actors, so a
redeploy of the API does not touch them. A change of the handlers replaces the runners one by one,
after they have finished their attempts. To end them, run `raytasks stop`.
"""

import click
from ray.serve import Application
from ray.serve.exceptions import RayServeException

from raytasks.model.tasks import RaytasksError
from raytasks.service import built_application
from raytasks.settings import load_settings


def app(arguments: dict[str, str]) -> Application:
    """Build the application, after the cluster has tried the handlers.

    The arguments have no meaning here. They only make Serve build again when one of them has
    changed. If the trial fails, nothing changes. The error then has a type that Serve shows as one
    line. Serve's build task would retry after any other type.
    """
    del arguments
    try:
        return built_application(load_settings())
    except RaytasksError as error:
        if click.get_current_context(silent=True) is not None:
            raise click.ClickException(str(error)) from None
        raise RayServeException(str(error)) from None
