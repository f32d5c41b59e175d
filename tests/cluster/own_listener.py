"""The listener of the replicas' own in a running service with `LISTEN_PORT`."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil

from tests.cluster.conftest import Service
from tests.cluster.processes import PATIENCE_SECONDS, REPLICA, processes

WAIT_SECONDS = 4


def own_port(service: Service) -> int:
    """Return the port that the replicas share."""
    return int(service.environment["LISTEN_PORT"])


def own_url(service: Service) -> str:
    """Return the URL at which the replicas listen themselves."""
    return f"http://127.0.0.1:{own_port(service)}"


def ports_of(process: psutil.Process) -> set[int]:
    """Return the ports at which a process listens."""
    found = process.net_connections("tcp")
    return {item.laddr.port for item in found if item.status == psutil.CONN_LISTEN}


def wait_for_listeners(service: Service, replicas: int) -> None:
    """Wait until so many replicas listen themselves, all on the one port."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = [own_port(service) in ports_of(one) for one in processes(service, REPLICA)]
        if found == [True] * replicas:
            break
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    assert f"without Serve:   {own_url(service)}\n" in service.log.read_text()


def check_stop(service: Service) -> None:
    """Stop a service while a client waits: it gets its answer, and new ones are refused."""
    task = service.submit("noop", {}, delay_seconds=600)
    url = f"{own_url(service)}/tasks/{task['task_id']}"
    with ThreadPoolExecutor(2) as threads, httpx.Client(timeout=60, trust_env=False) as client:
        waiting = threads.submit(client.get, url, params={"wait": WAIT_SECONDS})
        while _waiting(service) == 0:
            time.sleep(0.05)
        stopping = threads.submit(service.stop)
        while not waiting.done():
            try:
                httpx.get(url, timeout=10, trust_env=False)
            except httpx.ConnectError:
                break
            except httpx.TransportError:
                continue  # its connection was made just before the end
            time.sleep(0.1)
        assert not waiting.done(), "it was refused, or answered, before new clients were refused"
        assert waiting.result().json()["state"] == "PENDING"
        assert stopping.result() == 0


def _waiting(service: Service) -> int:
    """Return how many connections to the listener are open."""
    return sum(
        item.status == psutil.CONN_ESTABLISHED and item.laddr.port == own_port(service)
        for process in processes(service, REPLICA)
        for item in process.net_connections("tcp")
    )
