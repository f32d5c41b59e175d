"""The Serve application: `serve run raytasks.serve_app:app`, or `serve deploy` with that path.

Settings come from the environment and `.env`. The tracker and the runners are detached actors:
a redeploy of the API does not touch them, and a change of the handlers replaces the runners one
by one, after they have finished what they run.
"""

from raytasks.api.deployment import application, present_deployment
from raytasks.settings import load_settings

app = application(present_deployment(load_settings()))
