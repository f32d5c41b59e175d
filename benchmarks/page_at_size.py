"""How soon the page shows lists, filters and tasks: `python -m benchmarks.page_at_size`.

It needs Chromium and the package playwright. A service has a million tasks and is paused. A browser
goes to the list, changes the filter, and opens tasks. The time is its own: from the click until the
rows of the answer are drawn. The target is 300 ms for 95 of 100.
"""

import argparse
import json
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measures import percentile
from benchmarks.scenarios.growth import STAY_PAUSED
from benchmarks.seeds import COMMON_TAG, NO_TAG, RARE_TAG, Seeds, copied
from benchmarks.servers.service import running_service

TARGET_MS = 300.0

FILTERS: Mapping[str, str] = {
    "state": "state=FAILED",
    "states": "state=FAILED&state=CANCELLED",
    "type": "task_type=noop",
    "type_and_state": "task_type=noop&state=PENDING",
    "tag": f"tag={COMMON_TAG}",
    "rare_tag": f"tag={RARE_TAG}",
    "no_such_tag": f"tag={NO_TAG}",
    "error": "error_type=E",
    "no_such_error": "error_type=NoSuchError",
    "created": "created_after=2020-01-01T00:00:00Z",
    "created_before_all": "created_before=2020-01-01T00:00:00Z",
}
"""The filters as the page has them in its URL."""

_WATCH = """
window.answers = { whole: false, first: null, ms: 0, requests: 0, tasks: 0 };
const plain = window.fetch;
window.fetch = async (input, options) => {
  const listed = new URL(input, location).pathname.endsWith("/tasks/");
  if (!listed) return plain(input, options);
  const began = performance.now();
  const answer = await plain(input, options);
  const page = await answer.clone().json();
  answers.ms += performance.now() - began;
  answers.first ??= page.tasks[0]?.task_id ?? null;
  answers.tasks += page.tasks.length;
  answers.requests += 1;
  answers.whole = answers.tasks >= 50 || page.next_cursor === null || answers.requests === 10;
  return answer;
};
"""
"""Notes the answers of the list: its first task, how long they took, and whether it is whole.

A list may come in parts, as `views/tasks/live_list.js` says.
"""

_GO = """async (place) => {
  const drawn = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  Object.assign(answers, { whole: false, first: null, ms: 0, requests: 0, tasks: 0 });
  const began = performance.now();
  location.hash = place;
  const shown = () => {
    if (!answers.whole) return false;
    if (answers.first === null) return document.querySelector("[data-kind=empty]") !== null;
    return document.querySelector("table.tasks a.mono")?.title === answers.first;
  };
  while (!shown()) await drawn();
  await drawn();
  return [performance.now() - began, answers.ms];
}"""
"""Goes to a list, and returns how long it took until it was drawn, and the service's part of it."""

_OPEN = """async (id) => {
  const drawn = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  const began = performance.now();
  document.querySelector(`table.tasks a[title="${id}"]`).click();
  while (!document.querySelector("main .facts")) await drawn();
  await drawn();
  return performance.now() - began;
}"""
"""Clicks on a task, and returns how long it took until its facts were drawn."""


def visited(url: str, rounds: int) -> dict[str, list[float]]:
    """Go through the page so many times; return the milliseconds by what was shown."""
    from playwright.sync_api import sync_playwright

    took: defaultdict[str, list[float]] = defaultdict(list)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.add_init_script(_WATCH)
        page.goto(f"{url}/ui/#/nowhere")
        page.get_by_role("heading", name="Not found").wait_for()
        for number in range(rounds + 1):
            for name, milliseconds in _round(page, number).items():
                if number:  # the first one warms up
                    took[name].append(milliseconds)
        browser.close()
    return took


def _round(page: Any, number: int) -> dict[str, float]:
    page.evaluate("location.hash = '/nowhere'")
    page.get_by_role("heading", name="Not found").wait_for()
    took: dict[str, float] = {}
    took["list"], took["list, the service"] = page.evaluate(_GO, "/tasks")
    links = page.locator("table.tasks a.mono")
    task_id = links.nth(number % links.count()).get_attribute("title")
    took["task"] = page.evaluate(_OPEN, task_id)
    for name, query in FILTERS.items():
        page.evaluate(_GO, "/tasks")
        took[name], took[f"{name}, the service"] = page.evaluate(_GO, f"/tasks?{query}")
    return took


def judged(took: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return median and 95th percentile of each, and whether the slowest meets the target."""
    found: dict[str, Any] = {
        name: {share: round(percentile(values, p)) for share, p in (("p50", 0.5), ("p95", 0.95))}
        for name, values in took.items()
    }
    slowest = max(found[name]["p95"] for name in took if not name.endswith("the service"))
    verdict = "met" if slowest <= TARGET_MS else "missed"
    return {**found, "slowest p95": slowest, f"at most {TARGET_MS:g} ms": verdict}


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seeds", type=Path, help="keep the database here for the next run")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seeds = Seeds(asked.seeds or Path(folder) / "seeds")
        url = copied(seeds.mixed(asked.tasks), Path(folder) / "data")
        with running_service(Path(folder) / "service", url, environment=STAY_PAUSED) as service:
            took = visited(service.url, asked.rounds)
    print(json.dumps(judged(took), indent=1))


if __name__ == "__main__":
    main()
