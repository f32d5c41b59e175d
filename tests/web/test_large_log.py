"""A log of very many lines in the view of a task: as long as the service keeps one."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.web.browsing import Opened
from tests.web.filled_service import submit, until_final

Visit = Callable[..., Opened]

ATTEMPTS, LINES = 20, 1000
"""An attempt keeps 1,000 lines at most."""

MARGIN = 4
"""How many times as long it may take as where nothing else runs: tests share the machine."""

FROM_CLICK_TO_LAST = """async (id) => {
  const last = () => document.querySelector(".log > div:last-of-type")?.textContent.endsWith("line 1000")
    && document.querySelector("main").textContent.includes("20,000 lines");
  const link = document.querySelector(`a[title="${id}"]`);
  const began = performance.now();
  link.click();
  while (!last()) await new Promise(requestAnimationFrame);
  await new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)));
  return performance.now() - began;
}"""


@pytest.fixture(scope="module")
def talkative(filled) -> str:
    """A task whose attempts have logged as much as is kept."""
    with filled.client("a") as client:
        held = client.get(f"/tasks/{filled.tasks['runs']}").json()["payload"]["file"]
        Path(held).touch()  # the only runner has to be free
        script = {"step": "fail", "lines": LINES}
        task_id = submit(client, payload=script, max_attempts=ATTEMPTS, tags=["talkative"])
        until_final(client, task_id)
        return task_id


def test_it_opens_within_a_second(visit: Visit, talkative: str) -> None:
    opened = visit("/tasks?tag=talkative")
    opened.page.locator(f"a[title='{talkative}']").wait_for()
    import time, httpx
    from tests.keyring import bearer
    for _ in range(3):
        began = time.monotonic(); cpu = time.process_time()
        n = 0
        with httpx.stream("GET", f"{opened.base}/tasks/{talkative}/events", headers=bearer("a")) as answer:
            for piece in answer.iter_raw(): n += len(piece)
        print("stream", time.monotonic() - began, time.process_time() - cpu, n)
    for _ in range(5):
        print(opened.page.evaluate(FROM_CLICK_TO_LAST, talkative))
        opened.page.go_back()
        opened.page.locator(f"a[title='{talkative}']").wait_for()
