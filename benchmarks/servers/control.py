"""A driver that holds up and lets go a service's tasks: `pause` and `resume`, a line each."""

import json
import sys
import time

import ray

from raytasks import cluster
from raytasks.runner.link import NAMESPACE, TRACKER_NAME


def main() -> None:
    """Do what the lines of the input say, until it ends; answer each with a line."""
    cluster.connect(sys.argv[1])
    tracker = ray.get_actor(TRACKER_NAME, NAMESPACE)
    for line in sys.stdin:
        asked_at = time.monotonic()
        match json.loads(line):
            case "pause":
                ray.get(tracker.drain.remote(0))
            case "resume":
                ray.get(tracker.resume.remote())
        print(json.dumps({"asked_at": asked_at, "done_at": time.monotonic()}), flush=True)


if __name__ == "__main__":
    main()
