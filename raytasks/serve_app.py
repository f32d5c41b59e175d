"""The Serve application: `serve run --name raytasks raytasks.serve_app:app`, or `serve deploy`.

Settings come from the environment and `.env`. The tracker and the runners are detached actors:
a redeploy of the API does not touch them, and a change of the handlers replaces the runners one
by one, after they have finished what they run. `raytasks stop` ends them.
"""

import click
from ray.serve import Application
from ray.serve.exceptions import RayServeException

from raytasks.model.tasks import RaytasksError
from raytasks.service import built_application
from raytasks.settings import load_settings


def app(arguments: dict[str, str]) -> Application:
    """Build the application, after the cluster has tried the handlers.

    The arguments mean nothing to it: Serve builds again where one of them has changed. Where the
    trial fails, nothing has changed; the error is one that Serve's command, or its task that builds
    (which would try again after any other), shows as a line.
    """
    del arguments
    try:
        return built_application(load_settings())
    except RaytasksError as error:
        if click.get_current_context(silent=True) is not None:
            raise click.ClickException(str(error)) from None
        raise RayServeException(str(error)) from None
