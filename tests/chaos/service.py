"""The service under test: `raytasks up`, which can be killed whole and started again."""

from pathlib import Path

import httpx
import psutil

from tests.chaos import effects
from tests.cluster.conftest import Service, start_service
from tests.ports import quiet_port

LEASE_SECONDS = 3.0
MAX_CRASHES = 3


class ChaosService:
    """One service after the other on the same port, database and effects file."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        self.database_url = database_url
        self.effects_path = folder / "effects.jsonl"
        self.port = quiet_port()
        self._starts = 0
        self._running: Service | None = None

    @property
    def url(self) -> str:
        """Where the API answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def running(self) -> Service:
        """The service that runs now."""
        if self._running is None:
            raise RuntimeError("the service does not run")
        return self._running

    def start(self) -> None:
        """Start it, and return when it takes tasks."""
        self._starts += 1
        folder = self.folder / f"start-{self._starts}"
        folder.mkdir(parents=True)
        self._running = start_service(
            folder,
            self.port,
            cpus=2,
            dashboard=False,
            DATABASE_URL=self.database_url,
            TASK_MODULES="tests.chaos_handlers",
            LEASE_SECONDS=str(LEASE_SECONDS),
            MAX_CRASHES=str(MAX_CRASHES),
            **{effects.VARIABLE: str(self.effects_path)},
        )

    def stop(self) -> int:
        """Stop it in order, and return its exit code."""
        self.running.http.close()
        return self.running.stop()

    def kill(self) -> frozenset[int]:
        """Kill it with everything below it, and return which processes those were."""
        everyone = [psutil.Process(self.running.process.pid), *self.family()]
        self.running.http.close()
        for process in everyone:
            _kill(process)
        psutil.wait_procs(everyone, timeout=10)
        return frozenset(process.pid for process in everyone)

    def family(self) -> list[psutil.Process]:
        """Return all processes below the service's own."""
        return psutil.Process(self.running.process.pid).children(recursive=True)

    def named(self, name: str) -> list[psutil.Process]:
        """Return those whose command line begins so: `ray::` and the class of an actor, e.g."""
        return [process for process in self.family() if _command(process).startswith(name)]

    def takes_keys(self) -> bool:
        """Return whether submissions may have an idempotency key, by the API's own document."""
        document = httpx.get(f"{self.url}/openapi.json", timeout=30, trust_env=False).json()
        submit = document["paths"]["/tasks/"]["post"]
        return any(
            parameter.get("in") == "header" and parameter["name"].lower() == "idempotency-key"
            for parameter in submit.get("parameters", ())
        )


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
