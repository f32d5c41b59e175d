"""The Serve application: `serve run --name raytasks raytasks.serve_app:app`, or `serve deploy`.

Settings come from the environment and `.env`. The tracker and the runners are detached actors:
a redeploy of the API does not touch them, and a change of the handlers replaces the runners one
by one, after they have finished what they run. `raytasks stop` ends them.
"""

from ray.serve import Application

from raytasks.service import built_application
from raytasks.settings import load_settings


def app(arguments: dict[str, str]) -> Application:
    """Build the application, after the cluster has tried the handlers.

    The arguments mean nothing to it: Serve builds anew where one of them has changed. Raises
    `ServiceError` where the trial fails; then nothing has changed.
    """
    del arguments
    return built_application(load_settings())
