"""The list of tasks at a million of them: each filter, its first page and one far behind."""

from urllib.parse import urlencode

from benchmarks.handlers import NOOP, SLEEP
from benchmarks.load import Plan, generate
from benchmarks.measures import Result, percentile
from benchmarks.scenarios.growth import STAY_PAUSED
from benchmarks.scenarios.place import Place
from benchmarks.seeds import COMMON_TAG, NO_TAG, RARE_TAG, copied
from benchmarks.servers.service import Service, running_service

FILTERS: dict[str, dict[str, str]] = {
    "none": {},
    "state": {"state": "COMPLETED"},
    "rare_state": {"state": "FAILED"},
    "no_such_state": {"state": "RUNNING"},
    "type": {"task_type": NOOP},
    "type_and_state": {"task_type": SLEEP, "state": "PENDING"},
    "none_of_type_and_state": {"task_type": SLEEP, "state": "FAILED"},
    "tag": {"tag": COMMON_TAG},
    "rare_tag": {"tag": RARE_TAG},
    "no_such_tag": {"tag": NO_TAG},
    "tag_and_rare_state": {"tag": COMMON_TAG, "state": "CANCELLED"},
    "tag_type_and_state": {"tag": COMMON_TAG, "task_type": SLEEP, "state": "FAILED"},
}
_DEEP_OFFSET = 0.5  # the cursor is that of a task in the middle
_PAGE = 50


def measure(place: Place) -> Result:
    """Return the latencies of each filter; `lists.first` and `lists.cursor` are the slowest."""
    folder = place.folder / "lists"
    url = copied(place.seeds.mixed(place.sizes.listed), folder)
    with running_service(folder, url, environment=STAY_PAUSED) as service:
        result = _measured(service, place.sizes.listed, place.sizes.list_requests)
    (folder / "tasks.db").unlink()
    return result


def _measured(service: Service, listed: int, requests: int) -> Result:
    offset = int(listed * _DEEP_OFFSET)
    middle = service.http.get("/tasks/", params={"limit": 1, "offset": offset}).json()
    cursor = middle["tasks"][0]["task_id"]
    result = Result({})
    slowest: dict[str, float] = {}
    for name, query in FILTERS.items():
        for page, where in (("first", {}), ("cursor", {"cursor": cursor})):
            path = f"/tasks/?{urlencode({'limit': _PAGE, **query, **where})}"
            plan = Plan(service.url, (path,), 1, method="GET", requests=requests, warm=3)
            load = generate(plan)
            p99 = 1000 * percentile(load.latencies, 0.99)
            result.numbers[f"lists.{name}.{page}.p50_ms"] = 1000 * percentile(load.latencies, 0.5)
            result.numbers[f"lists.{name}.{page}.p99_ms"] = p99
            slowest[page] = max(slowest.get(page, 0.0), p99)
    result.numbers |= {f"lists.{page}.p99_ms": value for page, value in slowest.items()}
    return result
