"""Bare Ray: each line of the input, a number, says how many no-op tasks to run."""

import json
import sys
import time

import ray


@ray.remote
def noop() -> None:
    """Do nothing."""


def main() -> None:
    """Start a cluster of our own, and run tasks until the input ends."""
    ray.init(address="local", log_to_driver=False, include_dashboard=True)
    ray.get([noop.remote() for _ in range(200)])
    for line in sys.stdin:
        tasks = json.loads(line)
        began = time.perf_counter()
        ray.get([noop.remote() for _ in range(tasks)])
        print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)
    ray.shutdown()


if __name__ == "__main__":
    main()
