"""The page while its service is started again: another process would answer at the same address."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.keyring import API_KEYS, bearer
from tests.local_service import LocalService, served
from tests.web.browsing import Visitor
from tests.web.filled_service import Proxy, submit
from tests.web.test_connections import AWAY


class Restarted:
    """A service that can be stopped, and started again on the same database and port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = 0
        self._running = contextlib.ExitStack()
        self.service: LocalService
        self.url = ""

    def start(self) -> None:
        """Start it, each time with a tracker of its own."""
        self.service = LocalService(
            f"sqlite:///{self._folder / 'tasks.db'}",
            self._folder,
            api_keys=API_KEYS,
            secret_key="own",
        )
        self._proxy = self.service.app = Proxy(self.service.app)
        self.url = self._running.enter_context(served(self.service, self._port))
        self._port = urlsplit(self.url).port or 0

    def stop(self) -> None:
        """Break the connections of browsers, and stop it."""
        self._proxy.down = True
        self._running.close()


@pytest.fixture
def restarted(sqlite_template: Path, tmp_path: Path) -> Iterator[Restarted]:
    """A service that has been started once."""
    shutil.copy(sqlite_template, tmp_path / "tasks.db")
    one = Restarted(tmp_path)
    one.start()
    yield one
    one.stop()


def test_the_page_survives_a_restart_without_a_gap(restarted: Restarted, browser: Any) -> None:
    visitor = Visitor(browser, restarted.url)
    with httpx.Client(base_url=restarted.url, headers=bearer("a"), timeout=20) as client:
        before = submit(client, task_type="noop", delay_seconds=3600)
        restarted.service.tracker.log.write("INFO", "before the restart")
        views = {
            place: visitor.open(place, viewport={"width": 1400, "height": 900 + number})
            for number, place in enumerate(("/tasks", f"/tasks/{before}", "/log"))
        }
        for opened in views.values():
            opened.expected = AWAY
            opened.page.locator(".connection[data-state=live]").wait_for()
        views["/log"].page.get_by_text("before the restart").wait_for()
        restarted.stop()
        for opened in views.values():
            opened.page.locator(".connection", has_text="Disconnected").wait_for()
        restarted.start()
        restarted.service.tracker.log.write("INFO", "after the restart")
        after = submit(client, task_type="noop", delay_seconds=3600)
        client.post(f"/tasks/{before}/cancel")
        for task_id, state in ((after, "PENDING"), (before, "CANCELLED")):
            page = views["/tasks"].page
            row = page.locator("tr", has=page.locator(f"a[title='{task_id}']"))
            row.get_by_text(state).wait_for()
        views[f"/tasks/{before}"].page.locator(".state[data-state=CANCELLED]").wait_for()
        log = views["/log"].page
        log.get_by_text("after the restart").wait_for()
        # The log of the tracker before is gone with it, and that is said.
        log.locator(".log .gap").wait_for()
        assert log.get_by_text("before the restart").is_visible()
    visitor.leave()
    visitor.close()
