"""The metrics as text: formats, names and labels."""

from collections.abc import Callable, Iterable

from prometheus_client.core import Metric
from prometheus_client.openmetrics import parser as openmetrics

from raytasks.observe.metrics import render
from raytasks.protocol.metrics_data import Durations, MetricsData
from tests.metrics_check import scraped

DATA = MetricsData(
    version="1.2.3",
    epoch=7,
    store_up=True,
    paused=False,
    loaded=True,
    ray="2.60.0",
    totals=[
        ("default", "mail", "submitted", 5),
        ("default", "mail", "finished.COMPLETED", 3),
        ("default", "mail", "attempts.out_of_memory", 1),
        ("default", "mail", "late", 1),
    ],
    tasks=[("default", "mail", "PENDING", 2)],
    oldest_due={"mail": 1.5},
    earlier=(1, 3),
    runners=[("shared", "idle", 2)],
    ready={"shared": 4, "gpu": 0},
    nodes={"alive": 3, "leaving": 1},
    nodes_coming={"gpu": 2},
    bounds={"run": (0.5, 1.0), "tick": (0.1,)},
    durations=[
        Durations("run", "default", "mail", [1, 2, 3], 12.25),
        Durations("tick", "", "", [4, 0], 0.25),
    ],
)


def labels(**given: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(given.items()))


def test_the_text_has_each_number_once() -> None:
    text, content_type = render(DATA, "")
    assert content_type.startswith("text/plain; version=0.0.4")
    of = {"namespace": "default", "task_type": "mail"}
    assert scraped(text.decode()) == {
        ("raytasks_build_info", labels(version="1.2.3", ray="2.60.0")): 1.0,
        ("raytasks_store_up", ()): 1.0,
        ("raytasks_paused", ()): 0.0,
        ("raytasks_pauses", ()): 0.0,
        ("raytasks_schedules", labels(state="active")): 0.0,
        ("raytasks_schedules", labels(state="paused")): 0.0,
        ("raytasks_schedules", labels(state="held")): 0.0,
        ("raytasks_outbox_rows", ()): 0.0,
        ("raytasks_outbox_oldest_seconds", ()): 0.0,
        ("raytasks_outbox_set_aside", ()): 0.0,
        ("raytasks_earlier_clusters", ()): 1.0,
        ("raytasks_earlier_attempts", ()): 3.0,
        ("raytasks_epoch", ()): 7.0,
        ("raytasks_runners", labels(pool="shared", state="idle")): 2.0,
        ("raytasks_pool_ready_tasks", labels(pool="shared")): 4.0,
        ("raytasks_pool_ready_tasks", labels(pool="gpu")): 0.0,
        ("raytasks_nodes", labels(state="alive")): 3.0,
        ("raytasks_nodes", labels(state="leaving")): 1.0,
        ("raytasks_nodes_coming", labels(node_type="gpu")): 2.0,
        ("raytasks_tasks_submitted_total", labels(**of)): 5.0,
        ("raytasks_late_outcomes_total", labels(**of)): 1.0,
        ("raytasks_tasks_finished_total", labels(**of, state="COMPLETED")): 3.0,
        ("raytasks_attempts_total", labels(**of, outcome="out_of_memory")): 1.0,
        ("raytasks_tasks", labels(**of, state="PENDING")): 2.0,
        ("raytasks_oldest_due_seconds", labels(task_type="mail")): 1.5,
        ("raytasks_run_seconds_bucket", labels(**of, le="0.5")): 1.0,
        ("raytasks_run_seconds_bucket", labels(**of, le="1.0")): 3.0,
        ("raytasks_run_seconds_bucket", labels(**of, le="+Inf")): 6.0,
        ("raytasks_run_seconds_count", labels(**of)): 6.0,
        ("raytasks_run_seconds_sum", labels(**of)): 12.25,
        ("raytasks_tick_seconds_bucket", labels(le="0.1")): 4.0,
        ("raytasks_tick_seconds_bucket", labels(le="+Inf")): 4.0,
        ("raytasks_tick_seconds_count", ()): 4.0,
        ("raytasks_tick_seconds_sum", ()): 0.25,
    }


def test_openmetrics_is_given_to_who_asks_for_it() -> None:
    text, content_type = render(DATA, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert content_type.startswith("application/openmetrics-text")
    parse: Callable[[str], Iterable[Metric]] = openmetrics.text_string_to_metric_families
    assert "raytasks_tasks_submitted" in {family.name for family in parse(text.decode())}


def test_without_the_database_only_the_service_is_told_of() -> None:
    data = MetricsData(version="1", epoch=0, store_up=False, paused=False, loaded=False)
    found = scraped(render(data, "")[0].decode())
    assert {name for name, _ in found} == {"raytasks_build_info", "raytasks_store_up"}
    assert found["raytasks_store_up", ()] == 0.0
