"""A real service for tests: `raytasks up` as its own process, with Ray, HAProxy and SQLite."""

import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from raytasks.model.acts import AuditEntry
from raytasks.protocol.queries import AuditList
from raytasks.store.store import Store
from tests.cluster import changing, recovery
from tests.ports import quiet_port
from tests.postgres_server import PostgresServer
from tests.redis_server import RedisServer, running_redis

CALLBACK_SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
START_SECONDS = 180
FLOODED_CPUS = 6
STOP_SECONDS = 60
FIRST_REPLICA_PORT = 31_100  # behind Serve's own range, where `make demo` has its replicas
REPLICA_PORTS = 200

ORDER = {
    "service": ("service",),
    "flooded_service": ("flooded_service", "concurrent_service", "calling_service"),
    "durable_service": ("durable_service",),
    "pooled_service": ("pooled_service",),
    "small_service": ("small_service",),
}
"""The services that modules share, with their fixtures, in the order in which the tests run.

Where two processes run the tests, a service is one piece of work for one of them. So is
each module that shares none. The longest pieces come first.

The last test of the flood kills that service, and starts the next one in its place.
"""


@dataclass
class Service:
    """A running service, and what a test needs to talk to it."""

    url: str
    ray_address: str
    process: "subprocess.Popen[bytes]"
    log: Path
    environment: dict[str, str]
    http: httpx.Client
    flooded: bool = False

    def submit(self, task_type: str, payload: Any, **options: Any) -> dict[str, Any]:
        """Submit a task, and return it as it was accepted."""
        body = {"task_type": task_type, "payload": payload, **options}
        answer = self.http.post("/tasks/", json=body)
        assert answer.status_code == 202, answer.text
        task: dict[str, Any] = answer.json()
        return task

    def wait(self, task: dict[str, Any], seconds: float = 60) -> dict[str, Any]:
        """Return the task as soon as it has ended."""
        found = self.get(task, wait=seconds)
        assert found["state"] in ("COMPLETED", "FAILED", "CANCELLED"), found
        return found

    def run(self, task_type: str, payload: Any, **options: Any) -> dict[str, Any]:
        """Submit a task, and return it when it has ended."""
        return self.wait(self.submit(task_type, payload, **options))

    def get(self, task: dict[str, Any], wait: float = 0) -> dict[str, Any]:
        """Return the task as it is now."""
        answer = self.http.get(f"/tasks/{task['task_id']}", params={"wait": wait})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def wait_until(self, task: dict[str, Any], state: str) -> dict[str, Any]:
        """Return the task when it is in a state that it will be in soon."""
        deadline = time.monotonic() + 30
        while (found := self.get(task))["state"] != state:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)  # a look takes processor time from what it waits for
        return found

    def shared_runners(self) -> int:
        """Return how many warm runners of the shared pool have loaded the handlers."""
        runners = self.http.get("/health").json()["runners"]["list"]
        return sum(runner["pool"] == "shared" and runner["loaded"] for runner in runners)

    def stop(self) -> int:
        """Stop the service as Ctrl-C does, and return its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_SECONDS)


def newest_act(database_url: str) -> AuditEntry:
    """Return what a person did last, as the database has it; its service may have stopped."""
    store = Store(database_url)
    try:
        return store.read(AuditList(limit=1)).entries[0]
    finally:
        store.close()


def start_service(
    folder: Path,
    port: int = 0,
    *,
    cpus: int = 2,
    host: str = "127.0.0.1",
    dashboard: bool = False,
    **environment: str,
) -> Service:
    """Start `raytasks up` on free ports, or on this one, with its files in a folder."""
    port = port or quiet_port()
    log = folder / "up.log"
    variables = {
        **os.environ,
        "DATABASE_URL": f"sqlite:///{folder}/tasks.db",
        "ARTIFACTS_URL": str(folder / "artifacts"),
        "TASK_MODULES": "handlers,tests.scripted,raytasks.builtin._order",
        "STOP_GRACE_SECONDS": "1",
        "FETCH_ALLOWED_HOSTS": "",
        "API_KEYS": "",
        "DEBUG": "true",
        "SCRIPTED_FUSE_FILE": str(folder / "fuse"),
        "RAY_AUTH_TOKEN_PATH": str(folder / "ray-token"),
        **ingress_ports(),
        # Ray's workers would have to wait for whatever else runs on the machine.
        "RAY_worker_niceness": "0",
        **environment,
    }
    command = [sys.executable, "-m", "raytasks", "up", f"--port={port}", f"--num-cpus={cpus}"]
    command.append("--dashboard" if dashboard else "--no-dashboard")
    command.append(f"--host={host}")
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=variables)
    url = f"http://{host}:{port}"
    deadline = time.monotonic() + START_SECONDS
    while "Ctrl-C" not in log.read_text():  # the last line of the announcement
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"the service did not start:\n{log.read_text()}")
        time.sleep(0.1)
    address = log.read_text().partition("--address ")[2].split()[0]
    http = httpx.Client(base_url=url, timeout=70, trust_env=False)
    # Ray's own commands want to be told, where they get an address.
    return Service(url, address, process, log, {"RAY_AUTH_MODE": "token", **variables}, http)


def ingress_ports() -> dict[str, str]:
    """Return the variables of ports that Serve's ingress shares with no service of another process.

    HAProxy sends requests to the ports of its own replicas. When one of them has been killed, a
    replica of another service might get its port before HAProxy has noticed.
    """
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = FIRST_REPLICA_PORT + REPLICA_PORTS * process
    return {
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(quiet_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(quiet_port()),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(quiet_port()),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + REPLICA_PORTS - 1),
    }


class Services:
    """The service that runs now: one at a time, which tests of the same kind share."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._kind = ""
        self._running: Service | None = None

    def get(self, kind: str, start: Callable[[Path], Service]) -> Service:
        """Return the service of this kind; one of another kind is stopped, one that died is not.

        `start` gets a folder of its own.
        """
        if self._kind != kind or self._running is None or self._running.process.poll() is not None:
            self.stop()
            self._running = start(self._folders.mktemp(kind))
            self._kind = kind
        return self._running

    def stop(self) -> None:
        """Stop the one that runs, which must end in order."""
        running, self._running = self._running, None
        if running is not None:
            running.http.close()
            if running.process.poll() is None:
                assert running.stop() == 0, running.log.read_text()


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """The service that runs now; at the end none does."""
    services = Services(tmp_path_factory)
    yield services
    services.stop()


@pytest.fixture
def no_service(services: Services) -> None:
    """For a test that starts a service in a way of its own."""
    services.stop()


@pytest.fixture
def service(services: Services) -> Service:
    """The service of most tests, and what a head needs to keep its control store where we look."""

    def start(folder: Path) -> Service:
        control = folder / "control"
        control.mkdir()
        return start_service(
            folder, dashboard=True, LEASE_SECONDS="5", RAY_gcs_storage_path=str(control)
        )

    return services.get("service", start)


def start_pooled(
    services: Services, kind: str, cpus: int, killed: Service | None = None
) -> Service:
    """Return the service with pools of all kinds, and callbacks; start it if it does not run.

    It takes the place of a `killed` one: its port, its database and its artifacts.
    """

    def start(folder: Path) -> Service:
        modules = (
            "concurrent_handlers", "around_handlers", "pool_handlers", "group_handlers", "scripted",
        )  # fmt: skip
        here = {
            "DATABASE_URL": f"sqlite:///{folder}/tasks.db",
            "ARTIFACTS_URL": f"{folder}/artifacts",
        }
        kept = here if killed is None else killed.environment
        return start_service(
            folder,
            0 if killed is None else httpx.URL(killed.url).port or 0,
            cpus=cpus,
            DATABASE_URL=kept["DATABASE_URL"],
            ARTIFACTS_URL=kept["ARTIFACTS_URL"],
            TASK_MODULES=",".join(f"tests.{name}" for name in modules),
            RUNNER_IDLE_SECONDS="4",
            LEASE_SECONDS="5",
            CALLBACK_SECRETS=f"default={CALLBACK_SECRET}",
            CALLBACK_ALLOWED_HOSTS="127.0.0.1",
        )

    return services.get(kind, start)


@pytest.fixture
def pooled_service(services: Services) -> Service:
    """A service whose handlers are in a pool of none or more, and whose runners leave soon."""
    return start_pooled(services, "pooled_service", 2)


@pytest.fixture
def concurrent_service(services: Services) -> Service:
    """A service whose handlers run side by side; see `tests.concurrent_handlers`."""
    return start_pooled(services, "flooded_service", FLOODED_CPUS)


@pytest.fixture
def calling_service(services: Services) -> Service:
    """A service with a secret for callbacks."""
    return start_pooled(services, "flooded_service", FLOODED_CPUS)


@pytest.fixture
def flooded_service(services: Services) -> Service:
    """A service with some processors, all of which a flood of short tasks has taken."""
    running = start_pooled(services, "flooded_service", FLOODED_CPUS)
    if not running.flooded:
        flood = [{"task_type": "scripted", "payload": {"step": "sleep", "seconds": 0.2}}] * 1000
        for _ in range(5):
            assert running.http.post("/tasks/batch", json={"tasks": flood}).status_code == 202
        running.flooded = True
    deadline = time.monotonic() + START_SECONDS
    while running.shared_runners() < FLOODED_CPUS:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return running


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis server."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def durable_service(
    services: Services, postgres_server: PostgresServer, redis: RedisServer
) -> Service:
    """A service as in production: tasks in PostgreSQL, and Ray's control store in Redis.

    The modules of some handlers lie in its folder, to be changed; see `changing.py`.
    """

    def start(folder: Path) -> Service:
        changing.write_versioned(folder, 1)
        changing.write_changing(folder, 1)
        return start_service(
            folder,
            dashboard=True,
            TASK_MODULES="versioned,changing,tests.scripted",
            PYTHONPATH=str(folder),
            DATABASE_URL=postgres_server.new_database(),
            REDIS_URL=redis.url,
        )

    return services.get("durable_service", start)


@pytest.fixture
def changing_service(durable_service: Service) -> Service:
    """A service whose code can be changed."""
    return durable_service


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell how long the service took to recover from each fault."""
    if recovery.TIMES:
        terminalreporter.section("recovery times")
        for line in recovery.table():
            terminalreporter.write_line(line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Give what a process of xdist has measured to the one that tells it."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["recovery"] = recovery.TIMES


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a process of xdist has measured; one that has died gives nothing."""
    recovery.TIMES.update(getattr(node, "workeroutput", {}).get("recovery", {}))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep together the tests that share a service, in the order that their marks ask for."""
    here = [item for item in items if item.path.parent == Path(__file__).parent]
    others = [item for item in items if item.path.parent != Path(__file__).parent]
    items[:] = [*others, *sorted(here, key=_place)]
    if getattr(config.option, "loadgroup", False):
        for item in here:
            # As xdist itself does for its mark, but where pytest 9.2 does not look any more.
            item._id = type(item.id).parse(f"{item.nodeid}@{_group(item)}")


def _group(item: pytest.Item) -> str:
    """Return the name of the shared service, else of the module.

    A test may get a service under another's name, by a fixture of its module's own.
    """
    used = getattr(item, "fixturenames", ())
    shared = [group for group, fixtures in ORDER.items() if any(name in used for name in fixtures)]
    return shared[-1] if shared else item.path.stem


def _place(item: pytest.Item) -> tuple[int, int, int]:
    """Return where a test comes: by its service, by that one's fixture, and by its mark."""
    group = _group(item)
    used = getattr(item, "fixturenames", ())
    fixtures = ORDER.get(group, ())
    marks = {"fresh_service": -1, "ends_service": 1}
    return (
        list(ORDER).index(group) if group in ORDER else len(ORDER),
        next((place for place, name in enumerate(fixtures) if name in used), 0),
        next((place for name, place in marks.items() if item.get_closest_marker(name)), 0),
    )
