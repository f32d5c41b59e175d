"""A driver in a service's cluster: each line of its input says what it is to do.

`pause` and `resume` hold up the service's tasks and let them go. The lines `serve no-op` and
`delete no-op` put the endpoint of `noop_server.py` beside the API, and take it away.
"""

import json
import sys
import time
from typing import Any

import ray
from ray import serve

from benchmarks.servers.noop_server import Noop
from benchmarks.servers.service import NOOP_PREFIX
from raytasks.cluster import processes as cluster
from raytasks.runner.identity import RAY_NAMESPACE
from raytasks.runner.on_ray.tracker_client import TRACKER_NAME


def main() -> None:
    """Do what the lines of the input say, until it ends; answer each with a line."""
    cluster.connect(sys.argv[1])
    tracker = ray.get_actor(TRACKER_NAME, RAY_NAMESPACE)
    for line in sys.stdin:
        asked_at = time.monotonic()
        match json.loads(line):
            case "pause":
                ray.get(tracker.drain.remote(0))
            case "resume":
                ray.get(tracker.resume.remote())
            case "serve no-op":
                noop: Any = Noop
                serve.run(noop.bind(), name="noop", route_prefix=NOOP_PREFIX)
            case "delete no-op":
                serve.delete("noop")
            case other:
                raise ValueError(f"what is {other!r}?")
        print(json.dumps({"asked_at": asked_at, "done_at": time.monotonic()}), flush=True)


if __name__ == "__main__":
    main()
