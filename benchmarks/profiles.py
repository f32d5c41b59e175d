"""`python -m benchmarks.profiles`: where the processor time of the hot paths goes.

For each path it first takes the processor time of every process of the service, without a profiler.
Then it takes what py-spy sees in the processes that are ours. Run it by `make profile`.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from benchmarks.handlers import BODY
from benchmarks.load import Plan, generate
from benchmarks.scenarios.drain import drained
from benchmarks.servers.service import Service, running_service

_RATE = 200
_SHOWN = 30
_LABEL = 60
_OURS = ("ray::TrackerActor", "ray::ServeReplica", "ray::WarmRunner")
_DRAINED = 30_000


def _submission(service: Service, seconds: float) -> None:
    plan = Plan(service.url, ("/tasks/",), 16, body=BODY, seconds=seconds, warm=10)
    print(f"  {generate(plan).per_second:,.0f} a second")


def _single(service: Service, seconds: float) -> None:
    plan = Plan(service.url, ("/tasks/",), 1, body=BODY, seconds=seconds, wait=True, warm=20)
    load = generate(plan).result("single").numbers
    print(f"  p50 {load['single.p50_ms']:.2f} ms, p99 {load['single.p99_ms']:.2f} ms")


def _reads(service: Service, seconds: float) -> None:
    paths = tuple(f"/tasks/{task_id}" for task_id in service.submit(100))
    plan = Plan(service.url, paths, 16, method="GET", seconds=seconds, warm=10)
    print(f"  {generate(plan).per_second:,.0f} a second")


def _drain(service: Service, seconds: float) -> None:
    tasks = int(_DRAINED * seconds / 8)
    print(f"  {tasks / drained(service, tasks):,.0f} a second, queueing included in the profile")


PATHS: Mapping[str, Callable[[Service, float], None]] = {
    "submission": _submission,
    "single": _single,
    "reads": _reads,
    "drain": _drain,
}


def main() -> None:
    """Profile the paths that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of load, for each path")
    parser.add_argument("--out", type=Path, help="keep the samples here, as collapsed stacks")
    parser.add_argument("paths", nargs="*", help=", ".join(PATHS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        out = arguments.out or place / "samples"
        out.mkdir(parents=True, exist_ok=True)
        with running_service(place / "service") as service:
            service.warm_up()
            for name in arguments.paths or PATHS:
                profile(service, name, arguments.seconds, out)


def profile(service: Service, name: str, seconds: float, out: Path) -> None:
    """Run one path twice: once to see which process works, once to see what it does."""
    print(f"\n# {name}")
    before = _used(service)
    began = time.monotonic()
    PATHS[name](service, seconds)
    passed = time.monotonic() - began
    used = {pid: seconds - before.get(pid, 0.0) for pid, seconds in _used(service).items()}
    for process, label in sorted(_processes(service), key=lambda item: -used.get(item[0].pid, 0))[
        :14
    ]:
        print(f"    {100 * used.get(process.pid, 0.0) / passed:5.1f} %  {label} ({process.pid})")
    watched = []
    for process, label in _processes(service):
        if label.startswith(_OURS):
            file = out / f"{name}.{label.replace('::', '.').replace(':', '_')}.{process.pid}.txt"
            command = [
                "record",
                "--gil",
                "--rate",
                str(_RATE),
                "--format",
                "raw",
                "--output",
                str(file),
            ]
            watched.append((label, file, _spy(*command, "--pid", str(process.pid))))
    PATHS[name](service, seconds)
    for label, file, spy in watched:
        spy.send_signal(signal.SIGINT)
        spy.wait(60)
        print(f"\n## {name}: {label}")
        _show(file)


def _spy(*arguments: str) -> subprocess.Popen[bytes]:
    program = Path(sys.executable).parent / "py-spy"
    return subprocess.Popen(
        [program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _processes(service: Service) -> list[tuple[psutil.Process, str]]:
    found = []
    for process in service.program.family():
        try:
            words = [Path(word).name for word in process.cmdline() if not word.startswith("--")]
        except psutil.Error:
            continue
        found.append((process, " ".join(words[:4])[:_LABEL]))
    return found


def _used(service: Service) -> dict[int, float]:
    """Return the processor seconds that each process has used so far."""
    used = {}
    for process, _ in _processes(service):
        times = process.cpu_times()
        used[process.pid] = times.user + times.system
    return used


def _show(file: Path) -> None:
    """Print which functions were at work, and which were on the stack, in percent of samples."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    total = 0
    for line in file.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [frame.rpartition(":")[0] + ")" for frame in stack.split(";")]
        total += int(count)
        own[frames[-1]] += int(count)
        for frame in set(frames):
            whole[frame] += int(count)
    if not total:
        return
    print(f"    {total} samples at {_RATE} a second\n    own | with what it calls")
    for (a, a_count), (b, b_count) in zip(
        own.most_common(_SHOWN), whole.most_common(_SHOWN), strict=False
    ):
        left = f"{100 * a_count / total:5.1f} % {a[:_LABEL]}"
        print(f"    {left:70} | {100 * b_count / total:5.1f} % {b[:_LABEL]}")


if __name__ == "__main__":
    main()
