"""One service on hosts for the tests of this folder. They are slow: `make hosts` runs them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import recovery
from tests.hosts.lan import lacking
from tests.hosts.load import Load
from tests.hosts.service_on_hosts import ServiceOnHosts, running

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder: it is slow, and waits for real time-outs."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def shared_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServiceOnHosts, Load]]:
    """A service on hosts, and its client."""
    if reason := lacking():
        pytest.skip(reason)
    with running(tmp_path_factory.mktemp("hosts")) as service:
        yield service, Load(service)


@pytest.fixture
def service(shared_hosts: tuple[ServiceOnHosts, Load]) -> Iterator[ServiceOnHosts]:
    """The service, with all its hosts; after each test its whole history is judged."""
    found, load = shared_hosts
    yield found
    load.judge()


@pytest.fixture
def load(shared_hosts: tuple[ServiceOnHosts, Load], service: ServiceOnHosts) -> Load:
    """The client of the service, whose hosts all work."""
    found = shared_hosts[1]
    found.wait_until_whole()
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell how long the service took to recover from each fault."""
    if recovery.TIMES:
        terminalreporter.section("recovery times on hosts")
        for line in recovery.table():
            terminalreporter.write_line(line)
