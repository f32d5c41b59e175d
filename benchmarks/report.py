"""The report of a run: tables in Markdown, and a JSON file with all that was measured."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measures import Curve, Summary, summaries
from benchmarks.targets import Judgement


def number(value: float) -> str:
    """Write a number as a person reads it: three digits that count, thousands apart."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def target_table(judgements: Sequence[Judgement]) -> list[str]:
    """Return the table of the targets: what was wished for, seen, and whether that is enough."""
    lines = ["| target | bound | seen (lowest to highest round) | |", "|---|---|---|---|"]
    for judgement in judgements:
        target, seen = judgement.target, judgement.seen
        sign = "≥" if target.at_least else "≤"
        bound = f"{sign} {number(target.bound)} {target.unit}".rstrip()
        text = "–"
        if seen is not None:
            text = f"{number(seen.median)} ({number(seen.low)} to {number(seen.high)})"
        lines.append(f"| {target.text} | {bound} | {text} | {judgement.verdict} |")
    return lines


def number_table(found: Mapping[str, Summary]) -> list[str]:
    """Return the table of all numbers."""
    lines = ["| measured | median | lowest | highest | spread |", "|---|---|---|---|---|"]
    for name, summary in found.items():
        values = " | ".join(map(number, (summary.median, summary.low, summary.high)))
        lines.append(f"| `{name}` | {values} | {summary.spread:.0%} |")
    return lines


def document(
    title: str,
    machine: Mapping[str, Any],
    judgements: Sequence[Judgement],
    rounds: Sequence[Mapping[str, float]],
    *,
    quick: bool = False,
) -> str:
    """Return the whole report."""
    about = [f"- {name}: {value}" for name, value in machine.items()]
    if quick:
        about = [
            "**A quick run with small sizes: its figures and verdicts mean nothing.**",
            "",
            *about,
        ]
    return "\n".join(
        [
            f"# {title}",
            "",
            f"Rounds: {len(rounds)}. Ratios are taken within a round; the medians are of rounds.",
            "",
            *about,
            "",
            "## Targets",
            "",
            *target_table(judgements),
            "",
            "## All numbers",
            "",
            *number_table(summaries(rounds)),
            "",
        ]
    )


def record(
    machine: Mapping[str, Any],
    judgements: Sequence[Judgement],
    rounds: Sequence[Mapping[str, float]],
    curves: Mapping[str, Curve],
) -> dict[str, Any]:
    """Return all that a run has found as JSON data."""
    return {
        "machine": dict(machine),
        "targets": [
            {
                "target": item.target.text,
                "bound": item.target.bound,
                "at_least": item.target.at_least,
                "unit": item.target.unit,
                "seen": None if item.seen is None else item.seen.median,
                "verdict": item.verdict,
            }
            for item in judgements
        ],
        "medians": {name: summary.median for name, summary in summaries(rounds).items()},
        "rounds": [dict(numbers) for numbers in rounds],
        "curves": {name: list(points) for name, points in curves.items()},
    }


def write(folder: Path, name: str, text: str, data: Mapping[str, Any]) -> None:
    """Write a report's Markdown and JSON into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    (folder / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")
