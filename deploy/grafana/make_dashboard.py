"""Makes the dashboard for Grafana: `python -m deploy.grafana.make_dashboard` writes its file.

Each row of panels answers one question of an operator. `docs/metrics.md` has the same questions.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("raytasks.json")

_SOURCE = {"type": "prometheus", "uid": "${source}"}
_OF = 'job="$job", namespace=~"$namespace", task_type=~"$task_type"'
_JOB = 'job="$job"'
_WINDOW = "[$__rate_interval]"


@dataclass(frozen=True)
class Panel:
    """A panel: its queries by the legends of their series, and the unit of their numbers."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"


def _rate(name: str, by: str, labels: str = _OF) -> str:
    return f"sum by ({by}) (rate(raytasks_{name}{{{labels}}}{_WINDOW}))"


def _percentile(share: float, name: str, by: str = "", labels: str = _OF) -> str:
    rates = _rate(f"{name}_bucket", f"{by}, le" if by else "le", labels)
    return f"histogram_quantile({share}, {rates})"


def _percentiles(name: str, labels: str = _OF) -> dict[str, str]:
    return {
        f"p{share:.0%}"[:-1]: _percentile(share, name, "", labels) for share in (0.5, 0.95, 0.99)
    }


_ENDED = f'{_OF}, state=~"COMPLETED|FAILED"'

QUESTIONS: dict[str, list[Panel]] = {
    "1. Is it up?": [
        Panel("Answers", {"up": f"up{{{_JOB}}}"}, kind="stat"),
        Panel("Database", {"writable": f"raytasks_store_up{{{_JOB}}}"}, kind="stat"),
        Panel("Paused", {"paused": f"raytasks_paused{{{_JOB}}}"}, kind="stat"),
        Panel(
            "Takeovers within an hour", {"": f"changes(raytasks_epoch{{{_JOB}}}[1h])"}, kind="stat"
        ),
        Panel(
            "Version",
            {"raytasks {{version}}, Ray {{ray}}": f"raytasks_build_info{{{_JOB}}}"},
            kind="stat",
        ),
    ],
    "2. Does work flow?": [
        Panel(
            "Tasks per second",
            {
                "submitted": _rate("tasks_submitted_total", "job"),
                "finished": _rate("tasks_finished_total", "job"),
                "retried by a person": _rate("tasks_retried_total", "job"),
            },
            "ops",
        ),
        Panel(
            "Finished per second, by type",
            {"{{task_type}}": _rate("tasks_finished_total", "task_type")},
            "ops",
        ),
    ],
    "3. What fails?": [
        Panel(
            "Share of tasks that failed, by type",
            {
                "{{task_type}}": _rate(
                    "tasks_finished_total", "task_type", f'{_OF}, state="FAILED"'
                )
                + " / "
                + _rate("tasks_finished_total", "task_type", _ENDED)
            },
            "percentunit",
        ),
        Panel(
            "Attempts that did not succeed, per second",
            {
                "{{outcome}}": _rate(
                    "attempts_total", "outcome", f'{_OF}, outcome=~"failed|timed_out"'
                )
            },
            "ops",
        ),
    ],
    "4. How long do tasks wait?": [
        Panel("Wait from due to begun", _percentiles("queue_wait_seconds"), "s"),
        Panel(
            "Wait of 95 %, by type",
            {"{{task_type}}": _percentile(0.95, "queue_wait_seconds", "task_type")},
            "s",
        ),
    ],
    "5. Does something wait for too long?": [
        Panel(
            "Age of the oldest due task, by type",
            {
                "{{task_type}}": "max by (task_type) (raytasks_oldest_due_seconds"
                f'{{{_JOB}, task_type=~"$task_type"}})'
            },
            "s",
        ),
    ],
    "6. How much is there to do?": [
        Panel(
            "Open tasks, by state",
            {
                "{{state}}": "sum by (state) (raytasks_tasks"
                f'{{{_OF}, state=~"PENDING|RETRYING|RUNNING"}})'
            },
        ),
        Panel(
            "Waiting tasks, by type",
            {
                "{{task_type}}": "sum by (task_type) (raytasks_tasks"
                f'{{{_OF}, state=~"PENDING|RETRYING"}})'
            },
        ),
    ],
    "7. How long do tasks run?": [
        Panel("Running time", _percentiles("run_seconds"), "s"),
        Panel(
            "Mean running time, by type",
            {
                "{{task_type}}": _rate("run_seconds_sum", "task_type")
                + " / "
                + _rate("run_seconds_count", "task_type")
            },
            "s",
        ),
    ],
    "8. Are there enough runners?": [
        Panel(
            "Runners, by pool and state",
            {"{{pool}} {{state}}": f"sum by (pool, state) (raytasks_runners{{{_JOB}}})"},
        ),
        Panel(
            "Share of busy runners, by pool",
            {
                "{{pool}}": f'sum by (pool) (raytasks_runners{{{_JOB}, state="busy"}})'
                f" / sum by (pool) (raytasks_runners{{{_JOB}}})"
            },
            "percentunit",
        ),
    ],
    "9. Do processes die?": [
        Panel(
            "Lost attempts per second",
            {
                "{{outcome}}": _rate(
                    "attempts_total", "outcome", f'{_OF}, outcome=~"lost|out_of_memory"'
                )
            },
            "ops",
        ),
        Panel(
            "Charged losses and late outcomes, per second",
            {
                "charged": _rate("attempts_charged_total", "job"),
                "late": _rate("late_outcomes_total", "job"),
            },
            "ops",
        ),
    ],
    "10. Does the tracker keep up?": [
        Panel("Seconds of a tick", _percentiles("tick_seconds", _JOB), "s"),
        Panel("Seconds of a transaction", _percentiles("commit_seconds", _JOB), "s"),
    ],
}
"""The panels, by the question that they answer."""


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana keeps it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for question, row in QUESTIONS.items():
        at = {"x": 0, "y": top, "w": 24, "h": 1}
        panels.append({"id": len(panels) + 1, "type": "row", "title": question, "gridPos": at})
        width, height = 24 // len(row), 4 if row[0].kind == "stat" else 8
        for place, panel in enumerate(row):
            at = {"x": place * width, "y": top + 1, "w": width, "h": height}
            panels.append({"id": len(panels) + 1, **_panel(panel), "gridPos": at})
        top += 1 + height
    return {
        "uid": "raytasks",
        "title": "raytasks",
        "tags": ["raytasks"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": panels,
    }


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(65 + i), "datasource": _SOURCE, "expr": expr, "legendFormat": legend}
            for i, (legend, expr) in enumerate(panel.queries.items())
        ],
    }


def _variables() -> list[dict[str, Any]]:
    source = {"name": "source", "label": "Source", "type": "datasource", "query": "prometheus"}
    job = _variable("job", "label_values(raytasks_build_info, job)")
    labels = [
        _variable(name, f"label_values(raytasks_tasks{{{_JOB}}}, {name})", several=True)
        for name in ("namespace", "task_type")
    ]
    return [source, job, *labels]


def _variable(name: str, query: str, *, several: bool = False) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": _SOURCE,
        "query": query,
        "refresh": 2,
        "multi": several,
        "includeAll": several,
        **({"allValue": ".*", "current": {"text": "All", "value": "$__all"}} if several else {}),
    }


def text() -> str:
    """Return the text of the dashboard's file."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
