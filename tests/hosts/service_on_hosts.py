"""A service on four hosts: PostgreSQL on one, the head on one, a worker on each of two."""

import os
import pwd
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
from sqlalchemy.engine import make_url

from tests.chaos import effects
from tests.deploy.manifests import container, variables
from tests.hosts.lan import Host, Lan
from tests.keyring import API_KEYS, bearer
from tests.postgres_server import PostgresServer
from tests.upgrade.make_dumps import BINARIES

ROOT = Path(__file__).parents[2]
API_PORT = 8000
RAY_PORT = 6379
HOSTS = ("head", "one", "two")
"""The names of the hosts that run tasks."""

START_SECONDS = 240.0
PATIENCE_SECONDS = 180.0
_LOOK_SECONDS = 0.2
# As our unit of systemd does. The file `own` is read at each start.
_AGAIN = "while :; do ( . {own}; exec {command} ); echo ended; sleep 5; done"


class ServiceOnHosts:
    """The service; `http` is a client on the bridge that may do everything."""

    def __init__(self, lan: Lan, folder: Path, postgres: PostgresServer, data: Path) -> None:
        self.folder = folder
        self.effects = folder / "effects.jsonl"
        self.database = lan.add("database")
        self.head = lan.add("head")
        self.workers = [lan.add(name) for name in HOSTS[1:]]
        name = make_url(postgres.new_database()).database
        self.database_url = f"postgresql://postgres@{self.database.address}/{name}"
        self._data = data
        self.variables: dict[str, str] = {}  # of all hosts, instead of those below
        self.http = httpx.Client(
            base_url=f"http://{self.head.address}:{API_PORT}",
            headers=bearer("a"), timeout=70, trust_env=False,
        )  # fmt: skip

    def start_database(self) -> None:
        """Start PostgreSQL on its host, and wait until it answers."""
        owner = pwd.getpwuid(self._data.stat().st_uid)
        as_owner = [
            "setpriv",
            f"--reuid={owner.pw_uid}",
            f"--regid={owner.pw_gid}",
            "--clear-groups",
        ]
        (self._data / "postmaster.pid").unlink(missing_ok=True)  # of a host that was killed
        command = [str(BINARIES / "postgres"), "-D", str(self._data), "-k", str(self._data)]
        self.database.run(
            [*as_owner, *command,
             "-c", f"listen_addresses={self.database.address}"],
            self.folder / "database.log",
        )  # fmt: skip

        def answers() -> bool:
            try:
                psycopg.connect(self.database_url, connect_timeout=2).close()
            except psycopg.OperationalError:
                return False
            return True

        self.wait_for(answers, "PostgreSQL answers")

    def start(self) -> None:
        """Start the head and the workers, and wait until all are in the cluster."""
        self.start_head()
        for worker in self.workers:
            self.start_worker(worker)
        self.wait_for_nodes(len(HOSTS))

    def start_head(self) -> None:
        """Start Ray and the service on the head's host, and wait until it takes tasks."""
        self.start_up(f"--node-address={self.head.address}", "--num-cpus=1", "--no-dashboard")

    def start_up(self, *options: str) -> None:
        """Start `raytasks up` on the head's host, and wait until it takes tasks."""
        log = self.folder / "head.log"
        log.write_bytes(b"")
        up = self.head.run(
            [sys.executable, "-m", "raytasks", "up", "--host=0.0.0.0", f"--port={API_PORT}",
             *options],
            log, self._environment(self.head),
        )  # fmt: skip

        def announced() -> bool:
            assert up.poll() is None, log.read_text()
            return "Ctrl-C" in log.read_text()

        self.wait_for(announced, "the head is up", START_SECONDS)

    def start_worker(self, host: Host) -> None:
        """Start `raytasks worker` on a host, again and again when it ends, as systemd does."""
        address = f"{self.head.address}:{RAY_PORT}"
        command = f"{sys.executable} -m raytasks worker --address={address} --num-cpus=1"
        log, own = self.folder / f"{host.name}.log", self._own(host)
        own.touch()
        again = _AGAIN.format(own=own, command=command)
        host.run(["bash", "-c", again], log, self._environment(host))

    def start_pod(self, host: Host, template: dict[str, Any]) -> psutil.Process:
        """Start a worker on a host as KubeRay does, by a pod's template; return its first process.

        It is the first one of a namespace of processes, as in a container.
        """
        start = f"{sys.executable} -m ray.scripts.scripts start"
        options = f"--address={self.head.address}:{RAY_PORT} --block --num-cpus=1"
        own = variables(template) | {"KUBERAY_GEN_RAY_START_CMD": f"{start} {options}"}
        found = container(template)
        apart = ["unshare", "--pid", "--fork", "--mount-proc"]
        host.run(
            [*apart, *found["command"], *found["args"]],
            self.folder / f"{host.name}.log", self._environment(host) | own,
        )  # fmt: skip
        self.wait_for(lambda: host.running(start), "ray start runs")
        [first] = host.running(start)
        return first

    def delete_pod(self, host: Host, first: psutil.Process, template: dict[str, Any]) -> str:
        """End a pod as the kubelet does; return what its preStop said.

        SIGTERM goes to the first process after preStop. Raises `TimeoutExpired` when that does not
        end within the time that the template gives to both.
        """
        deadline = time.monotonic() + template["spec"]["terminationGracePeriodSeconds"]
        pre_stop = container(template)["lifecycle"]["preStop"]["exec"]["command"]
        said = self.run_on(host, *pre_stop[1:])
        first.terminate()
        first.wait(deadline - time.monotonic())
        return said

    def run_on(self, host: Host, *words: str) -> str:
        """Run a `raytasks` command on a host, and return what it says. It must succeed."""
        log = self.folder / "command.log"
        log.write_bytes(b"")
        command = [sys.executable, "-m", "raytasks", *words]
        assert host.run(command, log, self._environment(host)).wait(60) == 0, log.read_text()
        return log.read_text()

    def set_variables(self, host: Host, **variables: str) -> None:
        """Set further variables of a worker from its next start on, instead of earlier ones."""
        lines = [f"export {name}={shlex.quote(text)}\n" for name, text in variables.items()]
        self._own(host).write_text("".join(lines))

    def _own(self, host: Host) -> Path:
        return host.folder / "own-variables"

    def times_ended(self) -> list[int]:
        """Return how often `raytasks worker` has ended by itself, for each worker's host."""
        logs = [(self.folder / f"{host.name}.log").read_text() for host in self.workers]
        return [log.count("Ray has ended by itself") for log in logs]

    def leave(self, host: Host, number: signal.Signals = signal.SIGTERM) -> None:
        """Tell the worker of a host to stop, by a signal, and wait until its node is gone.

        SIGINT goes to the whole group of processes, as Ctrl-C in a terminal does.
        """
        [command] = host.running(f"{sys.executable} -m raytasks worker")
        told = [command]
        if number == signal.SIGINT:
            group = os.getpgid(command.pid)
            below = command.children(recursive=True)
            told += [process for process in below if os.getpgid(process.pid) == group]
        for process in told:
            process.send_signal(number)
        psutil.wait_procs([command], PATIENCE_SECONDS)
        assert not command.is_running(), self.logs()

    def run_ray(self, host: Host, *words: str) -> None:
        """Run a command of Ray's on a host. Raises `AssertionError` if it fails."""
        log = self.folder / "ray-command.log"
        command = [sys.executable, "-m", "ray.scripts.scripts", *words]
        assert host.run(command, log, self._environment(host)).wait(60) == 0, log.read_text()

    def nodes_alive(self) -> list[dict[str, Any]]:
        """Return the nodes that are alive, as `/nodes` has them."""
        found: list[dict[str, Any]] = self.http.get("/nodes").raise_for_status().json()["nodes"]
        return [node for node in found if node["alive"]]

    def health(self) -> dict[str, Any]:
        """Return what `/health` says; without an answer, an empty document."""
        try:
            found: dict[str, Any] = self.http.get("/health", timeout=15).json()
        except (httpx.HTTPError, ValueError):
            return {}
        return found

    def nodes(self) -> int:
        """Return how many nodes `/health` knows; 0 without an answer."""
        return int(self.health().get("ray", {}).get("nodes") or 0)

    def reasons(self) -> set[str]:
        """Return the codes of the reasons in `/health`."""
        return {reason["code"] for reason in self.health().get("reasons", ())}

    def wait_for_nodes(self, nodes: int) -> None:
        """Wait until `/health` knows so many nodes."""
        self.wait_for(lambda: self.nodes() == nodes, f"{nodes} nodes are in the cluster")

    def wait_for(self, there: Any, what: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until something is so; what is seen from here gives no signal."""
        deadline = time.monotonic() + seconds
        while not there():
            assert time.monotonic() < deadline, f"not so: {what}\n{self.logs()}\n{self.health()}"
            time.sleep(_LOOK_SECONDS)

    def logs(self) -> str:
        """Return the ends of the logs of all hosts."""
        files = sorted(self.folder.glob("*.log"))
        return "\n".join(f"--- {file.name}\n{file.read_text()[-3000:]}" for file in files)

    def _environment(self, host: Host) -> dict[str, str]:
        common = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "ray-token"),
            "RAY_AUTH_MODE": "token",
            "RAY_worker_niceness": "0",
            effects.VARIABLE: str(self.effects),
        }
        if host is not self.head:
            return common | {"RAYTASKS_STOP_GRACE_SECONDS": "10"} | self.variables
        of_the_head = {
            "DATABASE_URL": self.database_url,
            "ARTIFACTS_URL": str(self.folder / "artifacts"),
            "TASK_MODULES": "tests.chaos_handlers,tests.hosts.host_handlers",
            "API_KEYS": ",".join(key.entry for key in API_KEYS if key.name == "a"),
            "SECRET_KEY": "a secret of our own",
            "API_REPLICAS": "2",
            # The runner that is always there takes no processor; of the others, each takes a host's
            # only one. So they come and go with the load, one on each host.
            "WARM_RUNNERS_MAX": str(2 * len(HOSTS)),
            "LEASE_SECONDS": "5",
            "STOP_GRACE_SECONDS": "1",
        }
        return common | of_the_head | self.variables


@contextmanager
def running(folder: Path) -> Iterator[ServiceOnHosts]:
    """Run a service on hosts of its own, with its files in a folder; nothing is left of it."""
    with prepared(folder) as service:
        service.start()
        yield service


@contextmanager
def prepared(folder: Path, kind: str = "") -> Iterator[ServiceOnHosts]:
    """Make hosts for a service, of which only the database runs; nothing is left of them.

    Each `kind` has another length, and is a network of its own.
    """
    data = Path(tempfile.mkdtemp(prefix="raytasks-postgres-"))
    lan = Lan(folder, kind)
    server = PostgresServer(data, folder)
    try:
        lan.open()
        service = ServiceOnHosts(lan, folder, server, data)
        server.stop()
        with (data / "pg_hba.conf").open("a") as file:
            file.write("host all all 10.0.0.0/8 trust\n")
        service.start_database()
        yield service
        service.http.close()
    finally:
        lan.close()
        server.remove()
        shutil.rmtree(data, ignore_errors=True)
