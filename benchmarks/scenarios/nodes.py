"""1, 2 and 4 simulated nodes: `raytasks worker` processes, each with one processor to give.

All are on this machine, so only tasks that sleep can gain from more nodes than it has
processors. No-ops show what more nodes cost the tracker.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.handlers import SLEEP
from benchmarks.measures import Result
from benchmarks.scenarios.place import Place
from benchmarks.servers.programs import Program
from benchmarks.servers.service import Service, running_service


def measure(place: Place) -> Result:
    """Return the drain rates of no-ops, and of tasks that sleep 5 ms, for each number of nodes."""
    sizes = place.sizes
    result = Result({})
    for nodes in sizes.nodes:
        folder = place.folder / f"nodes-{nodes}"
        with running_service(folder, num_cpus=1) as service, ExitStack() as stack:
            for number in range(1, nodes):
                stack.enter_context(_node(service, number))
            service.warm_up(nodes)
            name = f"nodes.{nodes}"
            result.numbers[f"{name}.runners"] = float(service.warm_runners())
            for kind, task_type, tasks in (
                ("noop", "bench_noop", sizes.drained),
                ("sleep_5_ms", SLEEP, sizes.slept),
            ):
                with service.control() as control:
                    before = service.completed()
                    service.submit(tasks, task_type)
                    began = control.resume()
                    seconds = service.wait_completed(before + tasks) - began
                result.numbers[f"{name}.{kind}.per_second"] = tasks / seconds
    return result


@contextmanager
def _node(service: Service, number: int) -> Iterator[None]:
    command = [sys.executable, "-m", "raytasks", "worker", f"--address={service.ray_address}"]
    log = service.program.log.with_name(f"node-{number}.log")
    node = Program([*command, "--num-cpus=1"], log, service.environment)
    try:
        node.wait_for("works for")
        yield
    finally:
        node.stop()
