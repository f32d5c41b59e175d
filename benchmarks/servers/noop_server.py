"""An endpoint that does nothing, on Ray Serve: `noop_server.py PORT`, until SIGINT.

The environment, which `noop.py` makes, says whether it is behind HAProxy.
"""

import logging
import signal
import sys

import ray
from fastapi import FastAPI, Request, Response
from ray import serve
from ray.serve.config import HTTPOptions

app = FastAPI()


@app.post("/tasks/", status_code=202)
async def accept(request: Request) -> Response:
    """Read the body, and answer."""
    await request.body()
    return Response(b"{}", 202, media_type="application/json")


@serve.deployment(max_ongoing_requests=2000, ray_actor_options={"num_cpus": 0})
@serve.ingress(app)
class Noop:
    """One replica, with the options that the API of raytasks has."""


def main() -> None:
    """Serve until SIGINT."""
    ray.init(address="local", log_to_driver=False, include_dashboard=True)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=int(sys.argv[1])))
    serve.run(Noop.bind(), name="noop", route_prefix="/")  # type: ignore[attr-defined]
    print("serving", flush=True)
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
