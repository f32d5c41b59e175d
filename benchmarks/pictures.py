"""The pictures of a report: SVG, drawn with matplotlib."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measures import Curve, Summary, summaries

_GROWTH = re.compile(r"growth\.(\d+)\.(per_second|claim_ms)")
_CURVES = ("single", "submission.16", "submission.64", "noop.16", "reads.16")


def draw(
    folder: Path, rounds: Sequence[Mapping[str, float]], curves: Mapping[str, Curve]
) -> list[Path]:
    """Draw what was measured into a folder, and return the files."""
    drawn = []
    if shown := {name: points for name, points in curves.items() if name.endswith(_CURVES)}:
        drawn.append(_latencies(folder / "latency.svg", shown))
    found = summaries(rounds)
    if len(growth_points(found, "per_second")) > 1:
        drawn.append(_growth(folder / "backlog.svg", found))
    return drawn


def growth_points(found: Mapping[str, Summary], unit: str) -> list[tuple[int, Summary]]:
    """Return what was measured over the size of the backlog, the smallest first."""
    points = []
    for name, summary in found.items():
        match = _GROWTH.fullmatch(name)
        if match and match[2] == unit:
            points.append((int(match[1]), summary))
    return sorted(points, key=lambda point: point[0])


def _figure() -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "raytasks"  # the same picture is the same file
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    return figure, axes


def _save(figure: Any, path: Path) -> Path:
    from matplotlib import pyplot

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def _latencies(path: Path, curves: Mapping[str, Curve]) -> Path:
    figure, axes = _figure()
    for name, points in curves.items():
        # Each nine has the same width: 0.9, 0.99 and 0.999 are where one looks.
        axes.plot([1 / (1 - share) for share, _ in points], [ms for _, ms in points], label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for formatted in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        formatted("{x:g}")
    axes.set_xticks([1, 2, 10, 100, 1000], ["0", "50 %", "90 %", "99 %", "99.9 %"])
    axes.set_xlabel("share of the requests")
    axes.set_ylabel("answered within (ms)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return _save(figure, path)


def _growth(path: Path, found: Mapping[str, Summary]) -> Path:
    figure, axes = _figure()
    points = growth_points(found, "per_second")
    sizes = [size for size, _ in points]
    rates = [summary.median for _, summary in points]
    below = [summary.median - summary.low for _, summary in points]
    above = [summary.high - summary.median for _, summary in points]
    axes.errorbar(sizes, rates, yerr=[below, above], marker="o", capsize=3, label="drain")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("queued tasks")
    axes.set_ylabel("tasks completed a second")
    axes.grid(alpha=0.3)
    claims = growth_points(found, "claim_ms")
    if claims:
        right = axes.twinx()
        right.plot(
            [size for size, _ in claims],
            [summary.median for _, summary in claims],
            marker="s",
            linestyle="--",
            color="tab:orange",
        )
        right.set_ylim(bottom=0)
        right.set_ylabel("selecting 128 tasks to claim (ms, dashed)")
    return _save(figure, path)
